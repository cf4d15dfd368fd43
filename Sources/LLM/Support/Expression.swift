// Regular expressions as Python's `re` has them, for the names of layers in the files of others. They come from outside, so
// none may take long: instead of trying one way after another and going back, a match carries along all places that the
// expression can have come to (Thompson, 1968), and its steps are counted.

/// A regular expression of Python's `re`, to be matched with whole names. What can't be matched without going back
/// (references to groups, atomic groups, looking behind) and flags are refused.
package struct Expression {
    private indirect enum Node {
        case one((Unicode.Scalar) -> Bool)
        case sequence([Node])
        case choice([Node])
        case repeated(Node, min: Int, max: Int)
        /// The places for which this is true, with what is before and behind them.
        case place((_ before: Unicode.Scalar?, _ behind: Unicode.Scalar?) -> Bool)
        case ahead(Node, isWanted: Bool)
    }

    private static let mostSteps = 100_000
    private let text: String
    private let root: Node

    /// - Throws: if it is not an expression, or one of the kinds that are refused.
    package init(_ text: String) throws {
        var parser = Parser(text)
        self.text = text
        root = try parser.parse()
    }

    /// - Throws: if it would take too long.
    package func matches(_ name: String) throws -> Bool {
        let name = Array(name.unicodeScalars)
        var steps = 0
        return try advance(root, from: [0], in: name, &steps).contains(name.count)
    }

    /// All places where a match of a node can end that begins at one of some places.
    private func advance(_ node: Node, from places: Set<Int>, in name: [Unicode.Scalar], _ steps: inout Int) throws
        -> Set<Int>
    {
        steps += 1 + places.count
        guard steps <= Expression.mostSteps else {
            throw UserError(
                "the expression \(JSON.shown(Array(text.utf8))) takes too long to match",
                hint: "write it with fewer repetitions inside of repetitions")
        }
        switch node {
        case .one(let isMember):
            return Set(places.lazy.filter { $0 < name.count && isMember(name[$0]) }.map { $0 + 1 })
        case .sequence(let nodes):
            return try nodes.reduce(places) { try advance($1, from: $0, in: name, &steps) }
        case .choice(let nodes):
            return try nodes.reduce([]) { $0.union(try advance($1, from: places, in: name, &steps)) }
        case .repeated(let node, let min, let max):
            var ends: Set<Int> = min == 0 ? places : []
            var last = places
            var count = 0
            while count < max, !last.isEmpty {
                let next = try advance(node, from: last, in: name, &steps)
                count += 1
                if next == last {  // as it is from here on, however often
                    ends.formUnion(next)
                    break
                }
                last = count < min ? next : next.subtracting(ends)
                if count >= min { ends.formUnion(next) }
            }
            return ends
        case .place(let isRight):
            return places.filter { isRight($0 > 0 ? name[$0 - 1] : nil, $0 < name.count ? name[$0] : nil) }
        case .ahead(let node, let isWanted):
            return try places.filter { try advance(node, from: [$0], in: name, &steps).isEmpty != isWanted }
        }
    }

    // MARK: - parsing

    private struct Parser {
        private let text: [Unicode.Scalar]
        private var position = 0

        init(_ text: String) { self.text = Array(text.unicodeScalars) }

        private var next: Unicode.Scalar? { position < text.count ? text[position] : nil }

        private func refuse(_ what: String) -> UserError {
            let shown = JSON.shown(Array(String(String.UnicodeScalarView(text)).utf8))
            return UserError(
                "\(shown) is not an expression that can be matched here: \(what), at character \(position)",
                hint: "write a regular expression of Python's re without flags, references and looking behind")
        }

        /// Takes these characters if they are the next.
        private mutating func take(_ characters: String) -> Bool {
            guard text[position...].starts(with: characters.unicodeScalars) else { return false }
            position += characters.unicodeScalars.count
            return true
        }

        mutating func parse() throws -> Node {
            guard text.count <= 1000 else { throw refuse("it has more than 1000 characters") }
            let node = try choice()
            guard next == nil else { throw refuse("a ) closes nothing") }
            return node
        }

        private mutating func choice() throws -> Node {
            var nodes = [try sequence()]
            while take("|") { nodes.append(try sequence()) }
            return nodes.count == 1 ? nodes[0] : .choice(nodes)
        }

        private mutating func sequence() throws -> Node {
            var nodes: [Node] = []
            while let character = next, character != "|", character != ")" {
                nodes.append(try repetition(of: try item()))
            }
            return .sequence(nodes)
        }

        private mutating func repetition(of node: Node) throws -> Node {
            guard let (min, max) = try quantifier() else { return node }
            if case .place = node { throw refuse("nothing is there to repeat") }
            guard !take("+") else { throw refuse("a possessive repetition") }
            _ = take("?")  // lazy: it ends in other places first, but in the same ones
            guard try quantifier() == nil else { throw refuse("a repetition is repeated") }
            return .repeated(node, min: min, max: max)
        }

        private mutating func quantifier() throws -> (min: Int, max: Int)? {
            if take("*") { return (0, .max) }
            if take("+") { return (1, .max) }
            if take("?") { return (0, 1) }
            // What only looks like a repetition is what it is: a brace.
            let start = position
            guard take("{") else { return nil }
            let (low, hasComma) = (digits(), take(","))
            let high = hasComma ? digits() : low
            guard take("}"), hasComma || !low.isEmpty else {
                position = start
                return nil
            }
            guard let min = low.isEmpty ? 0 : Int(low), let max = high.isEmpty ? .max : Int(high), min <= max else {
                throw refuse("a repetition from \(low) to \(high)")
            }
            return (min, max)
        }

        private mutating func digits() -> String {
            var digits = ""
            while let digit = next, ("0"..."9").contains(digit) {
                digits.unicodeScalars.append(digit)
                position += 1
            }
            return digits
        }

        private mutating func item() throws -> Node {
            guard let character = next else { throw refuse("it ends too early") }
            if ["*", "+", "?"].contains(character) { throw refuse("nothing is there to repeat") }
            position += 1
            switch character {
            case ".": return .one { $0 != "\n" }
            case "^": return .place { before, _ in before == nil }
            case "$": return .place { _, behind in behind == nil }
            case "(": return try group()
            case "[": return try characterClass()
            case "\\": return try escape()
            default: return .one { $0 == character }
            }
        }

        private mutating func group() throws -> Node {
            var wanted: Bool?
            if take("?=") {
                wanted = true
            } else if take("?!") {
                wanted = false
            } else if take("?P<") {
                while let character = next, Parser.isWord(character) { position += 1 }
                guard take(">") else { throw refuse("a group's name has no end") }
            } else if !take("?:"), next == "?" {
                throw refuse("a group of a kind that is not known")
            }
            let node = try choice()
            guard take(")") else { throw refuse("a ) is missing") }
            return wanted.map { .ahead(node, isWanted: $0) } ?? node
        }

        private mutating func escape() throws -> Node {
            let start = position
            if take("A") { return .place { before, _ in before == nil } }
            if take("Z") { return .place { _, behind in behind == nil } }
            for (letter, isWanted) in [("b", true), ("B", false)] where take(letter) {
                return .place {
                    ($0.map(Parser.isWord) ?? false) != ($1.map(Parser.isWord) ?? false) ? isWanted : !isWanted
                }
            }
            position = start
            return .one(try members())
        }

        /// What is behind a backslash, as a set of characters.
        private mutating func members() throws -> (Unicode.Scalar) -> Bool {
            guard let character = next else { throw refuse("a \\ at its end") }
            position += 1
            switch character {
            case "d": return { ("0"..."9").contains($0) }
            case "D": return { !("0"..."9").contains($0) }
            case "w": return Parser.isWord
            case "W": return { !Parser.isWord($0) }
            case "s": return { $0.properties.isWhitespace }
            case "S": return { !$0.properties.isWhitespace }
            case _ where Parser.isWord(character) && character != "_": throw refuse("\\\(character)")
            default: return { $0 == character }
            }
        }

        private mutating func characterClass() throws -> Node {
            let isNegated = take("^")
            var members: [(Unicode.Scalar) -> Bool] = []
            while let character = next, members.isEmpty || character != "]" {
                position += 1
                if character == "\\", let escaped = next, Parser.isWord(escaped) {
                    members.append(try self.members())
                    continue
                }
                var low = character
                if character == "\\", let escaped = next { (low, position) = (escaped, position + 1) }
                var high = low
                if next == "-", position + 1 < text.count, text[position + 1] != "]" {
                    position += 1
                    if take("\\"), let escaped = next, Parser.isWord(escaped) { throw refuse("a range of kinds") }
                    guard let end = next, low <= end else { throw refuse("a range that ends before it begins") }
                    high = end
                    position += 1
                }
                members.append { [range = low...high] in range.contains($0) }
            }
            guard take("]") else { throw refuse("a ] is missing") }
            return .one { [members] character in members.contains { $0(character) } != isNegated }
        }

        private static func isWord(_ character: Unicode.Scalar) -> Bool {
            character == "_" || character.properties.isAlphabetic || character.properties.numericType != nil
        }
    }
}
