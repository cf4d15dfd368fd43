/// Has the cache line at `address`, which need not exist, brought nearer, and does not wait for it.
///
/// Swift has no word for the processors' instruction, and an ordinary load ahead of its time will not do: what comes
/// after it is computed, but not done with until the load is, and there is room for little of that. The symbol is LLVM's
/// name for the instruction; all arguments but the first must be literals.
/// - Parameters:
///   - write: 0 to read, 1 to write.
///   - caches: 3 for all, 2 for all but the first, 1 for the last.
///   - kind: 1 for data, 0 for code.
@_silgen_name("llvm.prefetch.p0")
package func prefetch(_ address: UnsafeRawPointer, write: Int32, caches: Int32, kind: Int32)
