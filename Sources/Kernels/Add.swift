// The sum of two vectors, for partial sums of gradients. It runs on the thread that calls it: the callers split.

/// out += inp, both (count).
package func accumulate(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
    for i in stride(from: 0, to: count, by: Vector.scalarCount) {
        (Vector.load(out + i, upTo: count - i) + Vector.load(inp + i, upTo: count - i)).store(
            out + i, upTo: count - i)
    }
}

/// out = inp, and inp = 0; both (count).
package func move(out: UnsafeMutablePointer<Float>, inp: UnsafeMutablePointer<Float>, count: Int) {
    for i in stride(from: 0, to: count, by: Vector.scalarCount) {
        Vector.load(inp + i, upTo: count - i).store(out + i, upTo: count - i)
        Vector(repeating: 0).store(inp + i, upTo: count - i)
    }
}
