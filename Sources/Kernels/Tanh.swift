// The hyperbolic tangent, for BERT's pooler: a row for each text, so the C library's is fast enough.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The tanh of each element, in place.
package func tanhForward(_ values: UnsafeMutablePointer<Float>, count: Int) {
    for i in 0..<count { values[i] = tanh(values[i]) }
}
