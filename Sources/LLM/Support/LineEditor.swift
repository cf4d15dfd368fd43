// A line that is being typed: the bytes of a terminal in raw mode → a text, a cursor, and what the terminal is to show.
// It knows nothing of a terminal but its size. Terminal.swift reads the bytes and writes what comes out.
//
//     ← →  ^B ^F      a character             ↑ ↓  ^P ^N     earlier and later lines
//     ^A ^E Home End  to an end               ^K ^U          deletes all after the cursor, or before it
//     Backspace ^H    deletes before it       ^W             deletes the word before it
//     Delete ^D       deletes at it           ^L             clears the screen
//
// A character is what a person takes for one, a grapheme cluster. Pasted text (bracketed paste) may have several lines.

/// An editor of one line of input.
package struct LineEditor {
    /// What a byte has led to.
    package enum Event: Equatable {
        /// Enter.
        case line(String)
        /// Ctrl-C: the line is cleared.
        case interrupted
        /// Ctrl-D on an empty line, or a second Ctrl-C.
        case ended
        /// Ctrl-Z.
        case suspended
    }

    package var prompt: String
    /// The terminal's size.
    package var columns: Int
    package var rows: Int

    /// The text as characters, and how many of them are before the cursor.
    private var text: [Character] = []
    package private(set) var cursor = 0
    package var line: String { String(text) }

    /// Lines that were entered, and the line that is being typed, each as edited.
    private var history: [String] = []
    private var edited: [String] = [""]
    /// Which of `edited` is in the line.
    private var place = 0

    /// Bytes of a character or of an escape sequence that is not whole yet.
    private var pending: [UInt8] = []
    private var isPasting = false
    private var pasted: [UInt8] = []
    private var wasInterrupted = false
    /// The screen's row of the cursor, counted from the first that shows the line.
    private var cursorRow = 0

    package init(prompt: String = "> ", columns: Int = 80, rows: Int = 24) {
        (self.prompt, self.columns, self.rows) = (prompt, columns, rows)
    }

    // MARK: - bytes in

    package mutating func add(_ byte: UInt8) -> Event? {
        // Also where the end of a paste, or of a sequence, has been lost.
        guard byte != 0x03 else {
            let isSecond = wasInterrupted && text.isEmpty
            (pending, isPasting, wasInterrupted) = ([], false, true)
            leave(mark: isSecond || !text.isEmpty ? "^C" : "^C (once more, or Ctrl-D, to end)")
            return isSecond ? .ended : .interrupted
        }
        wasInterrupted = false
        if isPasting { paste(byte); return nil }
        if pending.first == 0x1B { escape(byte); return nil }
        switch byte {
        case 0x0A, 0x0D:
            insert(take(pending.count))
            let line = line
            if !line.isEmpty, history.last != line { history.append(line) }
            leave()
            return .line(line)
        case 0x04 where text.isEmpty:
            leave()
            return .ended
        case 0x1A: return .suspended
        case 0x1B: pending = [byte]
        case 0x00..<0x20, 0x7F: control(byte)
        default:
            pending.append(byte)
            insert(take(pending.count - incompleteCharacter(at: pending[...])))
        }
        return nil
    }

    /// The first of the pending bytes as text.
    private mutating func take(_ count: Int) -> String {
        defer { pending.removeFirst(count) }
        return String(decoding: pending[..<count], as: UTF8.self)
    }

    /// Shows the line for the last time, and begins a new, empty one below it.
    private mutating func leave(mark: String = "") {
        cursor = text.count
        left = draw() + mark + "\r\n"
        (text, cursor, cursorRow, edited, place) = ([], 0, 0, history + [""], history.count)
    }

    private mutating func control(_ byte: UInt8) {
        pending = []
        switch byte {
        case 0x01: cursor = 0
        case 0x02: cursor = max(0, cursor - 1)
        case 0x04: delete(cursor..<min(cursor + 1, text.count))
        case 0x05: cursor = text.count
        case 0x06: cursor = min(text.count, cursor + 1)
        case 0x08, 0x7F: delete(max(0, cursor - 1)..<cursor)
        case 0x0B: delete(cursor..<text.count)
        case 0x0C: clearsScreen = true
        case 0x0E: show(place + 1)
        case 0x10: show(place - 1)
        case 0x15: delete(0..<cursor)
        case 0x17:
            var start = cursor
            while start > 0, text[start - 1].isWhitespace { start -= 1 }
            while start > 0, !text[start - 1].isWhitespace { start -= 1 }
            delete(start..<cursor)
        default: break
        }
    }

    /// ESC [ or ESC O, parameters, and a letter or ~ at the end; or ESC and any byte, which does nothing.
    private mutating func escape(_ byte: UInt8) {
        guard byte != 0x1B else { return pending = [byte] }
        pending.append(byte)
        if pending.count == 2, byte == UInt8(ascii: "[") || byte == UInt8(ascii: "O") { return }
        guard pending.count == 2 || (0x40...0x7E).contains(byte) || byte < 0x20 || pending.count > 32 else { return }
        let sequence = String(decoding: pending.dropFirst(2), as: UTF8.self)
        let isSequence = pending.count > 2
        pending = []
        guard isSequence else { return }
        switch sequence {
        case "200~": (isPasting, pasted) = (true, [])
        case "3~": control(0x04)
        case "H", "1~", "7~": control(0x01)
        case "F", "4~", "8~": control(0x05)
        case "A": control(0x10)
        case "B": control(0x0E)
        case "C": control(0x06)
        case "D": control(0x02)
        default: break
        }
    }

    private static let pasteEnd = Array("\u{1B}[201~".utf8)

    private mutating func paste(_ byte: UInt8) {
        pasted.append(byte)
        guard byte == UInt8(ascii: "~"), pasted.suffix(6).elementsEqual(LineEditor.pasteEnd) else { return }
        isPasting = false
        let pasted = String(decoding: pasted.dropLast(6), as: UTF8.self)
        // A terminal sends Enter's CR for the end of a line.
        var lines = ""
        var last: Unicode.Scalar?
        for scalar in pasted.unicodeScalars {
            if scalar != "\n" || last != "\r" { lines.unicodeScalars.append(scalar == "\r" ? "\n" : scalar) }
            last = scalar
        }
        insert(lines)
    }

    // MARK: - the text

    /// A character may join with those beside it: a vowel with the consonant before it, an accent with its letter.
    private mutating func insert(_ new: String) {
        guard !new.isEmpty else { return }
        // As far as what is new cannot reach, the characters stay.
        let kept = max(0, cursor - 1)
        let before = String(text[kept..<cursor]) + new
        let joined = Array(before + String(text[cursor...]))
        var length = 0
        let count = joined.prefix { character in
            defer { length += character.utf8.count }
            return length < before.utf8.count
        }.count
        text.replaceSubrange(kept..., with: joined)
        cursor = kept + count
    }

    private mutating func delete(_ range: Range<Int>) {
        text.removeSubrange(range)
        cursor = range.lowerBound
        // What is left on both sides may be one character.
        text = Array(String(text))
        cursor = min(cursor, text.count)
    }

    private mutating func show(_ index: Int) {
        guard edited.indices.contains(index) else { return }
        edited[place] = line
        place = index
        text = Array(edited[index])
        cursor = text.count
    }

    // MARK: - what is shown

    private var clearsScreen = false
    /// What shows a line that is done with.
    private var left = ""

    /// What shows the lines that are done with and were not yet shown so.
    package mutating func takeLeft() -> String {
        defer { left = "" }
        return left
    }

    /// What the terminal is to be sent so that it shows the line as it is, in place of what it shows of it.
    package mutating func draw() -> String {
        let (lines, at) = layout()
        // No more than the screen has: what is above it could not be cleared.
        let first = max(0, min(at.row - (rows - 1) / 2, lines.count - rows))
        let shown = lines[first..<min(lines.count, first + max(1, rows))]
        var output = takeLeft() + (clearsScreen ? "\u{1B}[H" : cursorRow > 0 ? "\u{1B}[\(cursorRow)A\r" : "\r")
        clearsScreen = false
        output += "\u{1B}[J" + shown.joined(separator: "\r\n")
        let below = first + shown.count - 1 - at.row
        output += (below > 0 ? "\u{1B}[\(below)A" : "") + "\r" + (at.column > 0 ? "\u{1B}[\(at.column)C" : "")
        cursorRow = at.row - first
        return output
    }

    /// The rows of prompt and text, and where the cursor is in them.
    private func layout() -> (lines: [String], cursor: (row: Int, column: Int)) {
        var lines = [""]
        var column = 0
        var at = (row: 0, column: 0)
        func breakLine() {
            lines.append("")
            column = 0
        }
        func put(_ shown: String, _ width: Int) {
            if column + width > columns, column > 0 { breakLine() }
            lines[lines.count - 1] += shown
            column += width
        }
        for character in prompt { put(String(character), terminalColumns(of: character)) }
        for (index, character) in text.enumerated() {
            if character == "\n" {
                if index == cursor { at = (lines.count - 1, column) }
                breakLine()
                continue
            }
            let shown = character == "\t" ? "    " : harmless(String(character))
            put(shown, terminalColumns(of: shown))
            if index == cursor { at = (lines.count - 1, column - terminalColumns(of: shown)) }
        }
        // Past the last column the cursor stands on the next row.
        if column >= columns { breakLine() }
        if cursor == text.count { at = (lines.count - 1, column) }
        return (lines, at)
    }
}
