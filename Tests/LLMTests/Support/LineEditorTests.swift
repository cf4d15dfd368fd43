// The editor of a line: keys in, a line and a screen out.

import LLM
import Testing

/// A terminal of so many columns and rows that understands what the editor sends.
private struct Screen {
    let columns: Int
    let rows: Int
    private(set) var lines: [[Character]]
    private(set) var row = 0
    private(set) var column = 0

    init(columns: Int, rows: Int) {
        (self.columns, self.rows) = (columns, rows)
        lines = [[Character]](repeating: [], count: rows)
    }

    /// The rows without the empty ones at the end. Of a wide character the second column is a NUL.
    var text: [String] {
        let all = lines.map { String($0.filter { $0 != "\0" }) }
        return Array(all.prefix((all.lastIndex { !$0.isEmpty } ?? -1) + 1))
    }

    mutating func show(_ output: String) {
        var rest = Array(output)[...]
        while let character = rest.popFirst() {
            switch character {
            case "\r\n":
                (column, row) = (0, row + 1)
                scroll()
            case "\r": column = 0
            case "\u{1B}":
                rest.removeFirst()
                let digits = rest.prefix { $0.isNumber }
                rest = rest.dropFirst(digits.count)
                let count = max(1, Int(String(digits)) ?? 1)
                switch rest.popFirst() {
                case "A": row = max(0, row - count)
                case "C": column = min(columns - 1, column + count)
                case "H": (row, column) = (0, 0)
                case "J":
                    lines[row] = Array(lines[row].prefix(column))
                    for below in (row + 1)..<max(row + 1, rows) { lines[below] = [] }
                case let other: Issue.record("unknown sequence \(String(describing: other))")
                }
            default:
                let width = terminalColumns(of: character)
                #expect(column + width <= columns, "a character past the edge")
                while lines[row].count < column { lines[row].append(" ") }
                lines[row].replaceSubrange(
                    column..<min(lines[row].count, column + width),
                    with: [character] + [Character](repeating: "\0", count: max(0, width - 1)))
                column += width
            }
        }
    }

    private mutating func scroll() {
        while row >= rows {
            lines.removeFirst()
            lines.append([])
            row -= 1
        }
    }
}

/// An editor with its screen.
private struct Desk {
    var editor: LineEditor
    var screen: Screen
    var events: [LineEditor.Event] = []

    init(prompt: String = "> ", columns: Int = 20, rows: Int = 8) {
        editor = LineEditor(prompt: prompt, columns: columns, rows: rows)
        screen = Screen(columns: columns, rows: rows)
        screen.show(editor.draw())
    }

    /// Types keys, and draws after each byte or at the end.
    mutating func type(_ keys: String, drawsEach: Bool = true) {
        for byte in keys.utf8 {
            if let event = editor.add(byte) { events.append(event) }
            if drawsEach { screen.show(editor.draw()) }
        }
        screen.show(editor.draw())
    }

    var cursor: [Int] { [screen.row, screen.column] }
}

private let (left, right, up, down, home, end) =
    ("\u{1B}[D", "\u{1B}[C", "\u{1B}[A", "\u{1B}[B", "\u{1B}[H", "\u{1B}[F")
private let backspace = "\u{7F}"

@Test func `keys edit the line`() {
    for (keys, line, cursor) in [
        ("abc", "abc", 3), ("abc\(left)X", "abXc", 3), ("abc\(left)\(left)\(left)\(left)X", "Xabc", 1),
        ("ab\(left)\(right)\(right)c", "abc", 3), ("abc\(home)X\(end)Y", "XabcY", 5), ("abc\u{1}X\u{5}Y", "XabcY", 5),
        ("abc\u{2}X\u{6}Y", "abXcY", 5), ("abc\u{1B}[1~X\u{1B}[4~Y", "XabcY", 5), ("ab\u{1B}OHX\u{1B}OFY", "XabY", 4),
        ("abc\(backspace)", "ab", 2), ("abc\(left)\(backspace)", "ac", 1), ("\(backspace)a\u{8}b", "b", 1),
        ("abc\(home)\u{1B}[3~\u{4}", "c", 0), ("abc\u{1B}[3~", "abc", 3), ("abc\(left)\u{B}", "ab", 2),
        ("abc\(left)\u{15}", "c", 0), ("one two  \u{17}", "one ", 4), ("one\u{17}\u{17}", "", 0),
        ("one two\(left)\u{17}", "one o", 4), ("a\tb\u{0}\u{7}", "ab", 2), ("a\u{1B}xb\u{1B}[99;5Zc", "abc", 3),
        ("a\u{1B}\u{1B}[Db", "ba", 1),
    ] {
        var desk = Desk()
        desk.type(keys)
        #expect(desk.editor.line == line && desk.editor.cursor == cursor, "\(keys.debugDescription)")
        #expect(desk.screen.text == ["> " + line].map { $0 == "> " ? "> " : $0 } && desk.events.isEmpty)
        #expect(desk.cursor == [0, 2 + terminalColumns(of: String(line.prefix(cursor)))])
    }
}

@Test func `a character is what a person takes for one`() {
    for (text, width) in [
        ("안", 2), ("\u{1112}\u{1161}\u{11AB}", 2), ("e\u{301}", 1), ("👨‍👩‍👧", 2), ("🇰🇷", 2), ("1️⃣", 2), ("❤️", 2),
        ("日", 2), ("ｱ", 1), ("Ａ", 2), ("ß", 1), ("👍🏽", 2), ("\u{1100}", 2), ("½", 1), ("…", 1),
    ] {
        #expect(terminalColumns(of: text) == width, "\(text)")
        var desk = Desk()
        // Byte by byte, and the parts of a character one after another.
        desk.type("a" + text + "b" + left)
        #expect(desk.editor.cursor == 2 && desk.cursor == [0, 3 + width], "\(text)")
        desk.type(backspace)
        #expect(desk.editor.line == "ab" && desk.cursor == [0, 3], "\(text)")
    }
    // What is deleted may bring two together that are one.
    var desk = Desk()
    desk.type("\u{1112}x\u{1161}\(left)\(backspace)")
    #expect(desk.editor.line == "\u{1112}\u{1161}" && desk.editor.cursor == 1 && desk.cursor == [0, 4])
    // Bytes that are no UTF-8.
    var editor = LineEditor()
    for byte in [0x61, 0xFF, 0xEC, 0x95, 0x62, 0xEC, 0x0D] as [UInt8] {
        if let event = editor.add(byte) { #expect(event == .line("a\u{FFFD}\u{FFFD}b\u{FFFD}")) }
    }
}

@Test func `enter gives the line, and the arrows the lines before`() {
    var desk = Desk()
    desk.type("one\rtwo\r\rtwo\r")
    #expect(desk.events == [.line("one"), .line("two"), .line(""), .line("two")])
    #expect(desk.screen.text == ["> one", "> two", "> ", "> two", "> "])
    desk.type("new\(up)")
    #expect(desk.editor.line == "two")
    desk.type("\(up)!")
    #expect(desk.editor.line == "one!")
    desk.type("\(up)\(up)\(down)")
    #expect(desk.editor.line == "two")
    desk.type(down)
    #expect(desk.editor.line == "new")
    desk.type("\(down)\u{10}\u{10}")
    #expect(desk.editor.line == "one!" && desk.screen.text.last == "> one!")
    desk.type("\r\(up)\(up)\(up)")
    #expect(desk.events.last == .line("one!") && desk.editor.line == "one")
}

@Test func `Ctrl-C clears the line, and twice ends; so does Ctrl-D on an empty line`() {
    var desk = Desk(columns: 50)
    desk.type("abc\u{3}")
    #expect(desk.events == [.interrupted] && desk.editor.line.isEmpty && desk.screen.text == ["> abc^C", "> "])
    desk.type("\u{3}")
    #expect(desk.events.last == .ended)
    var other = Desk(columns: 50)
    other.type("\u{3}a\(backspace)\u{3}\r\u{3}x\u{3}")
    #expect(!other.events.contains(.ended))
    #expect(other.screen.text[0] == "> ^C (once more, or Ctrl-D, to end)")
    // Half a sequence or a paste without an end is no trap.
    other.type("\u{1B}[200~abc\u{3}")
    #expect(other.events.last == .interrupted)
    other.type("a\u{1B}\u{3}b\u{4}")
    #expect(other.editor.line == "b")
    other.type("\(backspace)\u{4}")
    #expect(other.events.last == .ended)
    other.type("x\u{1A}")
    #expect(other.events.last == .suspended && other.editor.line == "x")
}

@Test func `a paste is one message, whatever is in it`() {
    var desk = Desk()
    desk.type("a\u{1B}[200~one\r\ntwo\rthree\n\u{1B}[D\u{4}\t안\u{1B}[201~b")
    #expect(desk.events.isEmpty)
    #expect(desk.editor.line == "aone\ntwo\nthree\n\u{1B}[D\u{4}\t안b")
    #expect(desk.screen.text == ["> aone", "two", "three", "^[[D^D    안b"])
    #expect(desk.cursor == [3, 13])
    desk.type("\(home)\(right)\(right)\(right)\(right)")
    #expect(desk.cursor == [0, 6])
    desk.type(right)
    #expect(desk.cursor == [1, 0])
    desk.type("\r")
    #expect(desk.events == [.line("aone\ntwo\nthree\n\u{1B}[D\u{4}\t안b")] && desk.cursor == [4, 2])
}

@Test func `a long line wraps, wide characters whole`() {
    var desk = Desk(columns: 9)
    desk.type("abcdefg")
    #expect(desk.screen.text == ["> abcdefg"] && desk.cursor == [1, 0])
    desk.type("h\(home)가")
    #expect(desk.screen.text == ["> 가abcde", "fgh"] && desk.cursor == [0, 4])
    desk.type("x")
    #expect(desk.screen.text == ["> 가xabcd", "efgh"])
    desk.type("\(end)가나\(left)")
    #expect(desk.screen.text == ["> 가xabcd", "efgh가나"] && desk.cursor == [1, 6])
    desk.type("나나\u{15}")
    #expect(desk.screen.text == ["> 나"] && desk.cursor == [0, 2])
}

@Test func `more than a screen shows the part with the cursor`() {
    var desk = Desk(columns: 10, rows: 4)
    desk.type("\u{1B}[200~" + (0..<30).map { "line \($0)\r" }.joined() + "\u{1B}[201~")
    #expect(desk.screen.text.contains("line 29") && desk.screen.row < 4)
    desk.type(home)
    #expect(desk.screen.text.first == "> line 0" && desk.cursor == [0, 2])
    desk.type("X")
    #expect(desk.screen.text.first == "> Xline 0" && desk.cursor == [0, 3])
    desk.type("\r")
    #expect(desk.screen.text.last == "> ")
}

@Test func `whatever is typed, drawing in steps is drawing at once`() {
    var random = Xorshift(seed: 1)
    let keys = [
        "a", "b ", "가", "한", "\u{1112}", "\u{1161}", "e\u{301}", "👨‍👩‍👧", left, left, right, home, end, backspace,
        backspace,
        "\u{B}", "\u{17}", up, down, "\r", "\u{1B}[200~x\ry\u{1B}[201~", "日本語", "\u{C}",
    ]
    for columns in [5, 8, 13] {
        var desk = Desk(columns: columns, rows: 6)
        for step in 0..<600 {
            let key = keys[random.below(keys.count)]
            desk.type(key, drawsEach: step.isMultiple(of: 3))
            #expect(desk.editor.cursor <= desk.editor.line.count)
            // Another editor, and a new screen: with the same line and cursor.
            var fresh = Desk(columns: columns, rows: 6)
            let back = desk.editor.line.count - desk.editor.cursor
            fresh.type(
                "\u{1B}[200~\(desk.editor.line)\u{1B}[201~" + String(repeating: left, count: back), drawsEach: false)
            #expect(fresh.editor.line == desk.editor.line && fresh.editor.cursor == desk.editor.cursor)
            // Above the line there is what was entered before.
            let (shown, expected) = (desk.screen.text, fresh.screen.text)
            #expect(shown.suffix(expected.count) == expected[...], "\(key.debugDescription)")
            #expect(desk.cursor[1] == fresh.cursor[1])
            #expect(shown.count - desk.cursor[0] == expected.count - fresh.cursor[0])
        }
    }
}

@Test func `what a terminal would obey is shown and not sent`() {
    #expect(harmless("a\u{1B}[2Jb\u{7}\u{7F}\u{9B}\r\n\t가") == "a^[[2Jb^G^?\u{FFFD}^M\n\t가")
    #expect(harmless("plain 텍스트\n") == "plain 텍스트\n")
}
