// Reading and writing UTF-8. Text may contain bytes that are not UTF-8; they are characters of their own.

import Kernels

/// The scalar at `position` and its length in bytes. A byte that does not begin a well-formed sequence reads as U+FFFD
/// of length 1.
@inline(__always)
package func scalar(at position: Int, in bytes: UnsafeBufferPointer<UInt8>) -> (value: UInt32, length: Int) {
    let lead = UInt32(bytes[position])
    if lead < 0x80 { return (lead, 1) }
    let length = wellFormedLength(at: position, in: bytes)
    @inline(__always)
    func tail(_ offset: Int) -> UInt32 { UInt32(bytes[position + offset] & 0x3F) }
    switch length {
    case 2: return ((lead & 0x1F) << 6 | tail(1), 2)
    case 3: return ((lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3)
    case 4: return ((lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4)
    default: return (0xFFFD, 1)
    }
}

/// The scalars of `text`, with U+FFFD for each byte that is not UTF-8.
func scalars(of text: [UInt8]) -> [UInt32] {
    var result: [UInt32] = []
    result.reserveCapacity(text.count)
    text.withUnsafeBufferPointer { text in
        var position = 0
        while position < text.count {
            let next = scalar(at: position, in: text)
            result.append(next.value)
            position += next.length
        }
    }
    return result
}

/// Appends `scalar` as UTF-8.
@inline(__always)
func appendUTF8(_ scalar: UInt32, to bytes: inout [UInt8]) {
    if scalar < 0x80 {
        bytes.append(UInt8(scalar))
    } else if scalar < 0x800 {
        bytes.append(UInt8(0xC0 | scalar >> 6))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else if scalar < 0x10000 {
        bytes.append(UInt8(0xE0 | scalar >> 12))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else {
        bytes.append(UInt8(0xF0 | scalar >> 18 & 7))
        bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    }
}

/// The length of the well-formed UTF-8 sequence that begins at `position`; 0 if there is none.
@inline(__always)
package func wellFormedLength(at position: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
    let lead = bytes[position]
    if lead < 0x80 { return 1 }
    let length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0
    guard length > 0, position + length <= bytes.count else { return 0 }
    // The range of the second byte excludes overlong forms, surrogates and values above 10FFFF.
    let second = bytes[position + 1]
    let lowest: UInt8 = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80
    let highest: UInt8 = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF
    guard second >= lowest, second <= highest else { return 0 }
    if length > 2, bytes[position + 2] & 0xC0 != 0x80 { return 0 }
    if length > 3, bytes[position + 3] & 0xC0 != 0x80 { return 0 }
    return length
}

/// The offset of the first byte that is not UTF-8; nil if all are.
package func firstInvalidUTF8(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    let raw = UnsafeRawBufferPointer(bytes)
    var position = 0
    while position < bytes.count {
        // The common cases: eight bytes of ASCII, or a three-byte character whose second byte has the full range.
        while position &+ 8 <= raw.count {
            let eight = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            if eight & 0x8080_8080_8080_8080 == 0 {
                position &+= 8
            } else if eight & 0xC0C0F0 == 0x8080E0, eight & 0x0F != 0, eight & 0x200F != 0x200D {
                position &+= 3
            } else {
                break
            }
        }
        if position == raw.count { break }
        let length = wellFormedLength(at: position, in: bytes)
        if length == 0 { return position }
        position += length
    }
    return nil
}

/// The offset of the first byte that is not text: not UTF-8, or NUL. nil if there is none.
package func firstNonText(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    var position = 0
    func characterByCharacter(to end: Int) -> Int? {
        while position < end {
            let length = bytes[position] == 0 ? 0 : wellFormedLength(at: position, in: bytes)
            if length == 0 { return position }
            position += length
        }
        return nil
    }
    if let found = characterByCharacter(to: min(textLookBehind, bytes.count)) { return found }
    if let base = bytes.baseAddress { position = textEnd(in: base, from: position, count: bytes.count) }
    // A character may continue beyond that.
    let last = bytes[max(0, position - textLookBehind)..<position]
    position = last.lastIndex { $0 >= 0xC0 } ?? position
    return characterByCharacter(to: bytes.count)
}

/// `bytes` with each byte that is not text replaced by U+FFFD. Their number is added to `count`.
package func replacingNonText(in bytes: UnsafeBufferPointer<UInt8>, count: inout Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 64)
    var position = 0
    while position < bytes.count {
        let length = bytes[position] == 0 ? 0 : wellFormedLength(at: position, in: bytes)
        if length == 0 {
            count += 1
            result += [0xEF, 0xBF, 0xBD]
        } else {
            result += bytes[position..<position + length]
        }
        position += max(1, length)
    }
    return result
}

/// The number of characters in UTF-8 text.
package func characterCount(of bytes: UnsafeBufferPointer<UInt8>) -> Int {
    let raw = UnsafeRawBufferPointer(bytes)
    var (position, tails) = (0, 0)
    while position &+ 8 <= raw.count {
        // One bit for each byte of the form 10xxxxxx.
        let eight = raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
        tails &+= (eight & ~(eight &<< 1) & 0x8080_8080_8080_8080).nonzeroBitCount
        position &+= 8
    }
    for byte in raw[position...] where byte & 0xC0 == 0x80 { tails &+= 1 }
    return raw.count - tails
}
