/// The lower-case mapping, scalar by scalar. It ignores context (a final sigma, a Turkish i).
struct LetterCase: Sendable {
    static let shared = LetterCase()
    private var lower: [UInt32: [UInt32]] = [:]

    private init() {
        for entry in lowerCaseMap.split(separator: " ") {
            if let equals = entry.firstIndex(of: "="), let scalar = UInt32(entry[..<equals], radix: 16) {
                lower[scalar] = hexadecimals(entry[entry.index(after: equals)...])
                continue
            }
            // first-last:difference, or first-last/2:difference for every second character
            let fields = entry.split(separator: ":")
            guard fields.count == 2, let difference = Int(fields[1]) else { continue }
            let span = fields[0].split(separator: "/")
            let ends = span[0].split(separator: "-").compactMap { Int($0, radix: 16) }
            guard let first = ends.first, let last = ends.last else { continue }
            for scalar in stride(from: first, through: last, by: span.count == 2 ? 2 : 1) {
                lower[UInt32(scalar)] = [UInt32(scalar + difference)]
            }
        }
    }

    /// Appends the lower case of `scalar`.
    @inline(__always)
    func appendLower(_ scalar: UInt32, to result: inout [UInt32]) {
        if scalar < 0x80 {
            result.append(scalar >= 0x41 && scalar <= 0x5A ? scalar + 0x20 : scalar)
        } else if scalar >= 0xAC00 && scalar <= 0xD7A3 {
            result.append(scalar)
        } else if let lower = lower[scalar] {
            result += lower
        } else {
            result.append(scalar)
        }
    }
}
