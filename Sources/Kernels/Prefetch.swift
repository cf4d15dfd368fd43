// The processor's prefetch instruction, which Swift has no name for.

/// A request to bring the cache line at `address` closer to the processor. It does not wait, and the address need not
/// be valid.
///
/// An early ordinary load is not a substitute: instructions after it cannot retire until it has finished, and the
/// processor holds only a few hundred of them. The symbol is LLVM's name for the instruction. All arguments but the
/// first must be literals.
/// - Parameters:
///   - write: 0 to read, 1 to write.
///   - caches: 3 for all levels, 2 for all but the first, 1 for the last.
///   - kind: 1 for data, 0 for code.
#if NO_PREFETCH
    @inline(__always)
    package func prefetch(_ address: UnsafeRawPointer, write: Int32, caches: Int32, kind: Int32) {}
#else
    @_silgen_name("llvm.prefetch.p0")
    package func prefetch(_ address: UnsafeRawPointer, write: Int32, caches: Int32, kind: Int32)
#endif
