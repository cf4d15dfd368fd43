// swift-tools-version: 6.2
import Foundation
import PackageDescription

// Which processor to build for: `native` is this machine; LLM_CPU=x86-64-v3 (or -v2, -v4) builds for another level.
// The SIMD width of the kernels follows it: 16 floats with AVX-512, 8 with AVX2, 4 with SSE and NEON.
let cpu = Context.environment["LLM_CPU"] ?? "native"

func hasCPUFlag(_ flag: String) -> Bool {
    let levels = ["avx512f": ["x86-64-v4"], "fma": ["x86-64-v4", "x86-64-v3"]]
    if cpu != "native" { return levels[flag]?.contains(cpu) ?? false }
    #if os(Linux)
        let flags = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        return flags.split(whereSeparator: \.isWhitespace).contains { $0 == flag }
    #else
        return flag == "fma"  // every Intel Mac that Swift 6 still runs on has AVX2
    #endif
}

#if arch(arm64)
    let cpuFlag = "-mcpu=\(cpu)"
    let simd: [SwiftSetting] = [.define("SIMD_4"), .define("FMA"), .define("REGISTERS_32")]
#else
    let cpuFlag = "-march=\(cpu)"
    let simd: [SwiftSetting] =
        hasCPUFlag("avx512f")
        ? [.define("SIMD_16"), .define("FMA"), .define("REGISTERS_32")]
            + (hasCPUFlag("avx512_bf16") ? [.define("BFLOAT16_PAIRS")] : [])
            + (hasCPUFlag("avx512_vnni") ? [.define("INT8_PRODUCTS")] : [])
        : hasCPUFlag("fma") ? [.define("SIMD_8"), .define("FMA")] : [.define("SIMD_4")]
#endif

// The hot loops: pointers that were checked before they came here, so no checks inside. Swift has no flag of its own
// for the target processor; -Xcc -march sets it for Swift's code too, because Swift takes its target from clang. And a
// square root is clang's: without -fno-math-errno each lane asks whether it is negative, to set errno, and AdamW takes
// four times as long.
let kernels: [SwiftSetting] =
    [.unsafeFlags(["-Ounchecked", "-Xcc", cpuFlag, "-Xcc", "-fno-math-errno"])] + simd
    // `make test-threads` builds with the thread sanitizer, under which LLVM refuses its own prefetch instruction.
    + (Context.environment["LLM_SANITIZE"] == nil ? [] : [.define("NO_PREFETCH")])

let package = Package(
    name: "llm.swift",
    platforms: [.macOS("26.0")],
    targets: [
        .target(name: "Kernels", dependencies: ["CInstructions"], swiftSettings: kernels),
        // Instructions without a name in Swift: a header alone.
        .target(name: "CInstructions"),
        // Everything that reads input: built -O, as SwiftPM does, so that an overflow traps and corrupts nothing.
        .target(
            name: "LLM", dependencies: ["Kernels"], resources: [.embedInCode("Training/recipes.mk")]),
        // One executable per stage.
        .executableTarget(name: "lotto", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "train_tokenizer", dependencies: ["LLM"]),
        .executableTarget(name: "tokenize", dependencies: ["LLM"]),
        .executableTarget(name: "train_gpt2", dependencies: ["LLM"]),
        .executableTarget(name: "train_phi", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "train_bert", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "embed", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "finetune", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "generate", dependencies: ["LLM"]),
        .executableTarget(name: "chat", dependencies: ["LLM"]),
        .executableTarget(name: "peek", dependencies: ["LLM"]),
        .executableTarget(name: "convert", dependencies: ["LLM"]),
        .executableTarget(name: "grow", dependencies: ["LLM", "Kernels"]),
        .executableTarget(name: "test_gpt2", dependencies: ["LLM"]),
        .executableTarget(name: "test_phi", dependencies: ["LLM"]),
        .executableTarget(name: "test_bert", dependencies: ["LLM"]),
        .executableTarget(
            name: "bench", dependencies: ["LLM", "Kernels", "Ladder"], path: "dev/bench",
            exclude: [
                "ladder", "compare.sh", "machines.py", "mpi_network.sh", "recipe_search.py", "tokenizer_peers.py",
                "torch_bert.py", "torch_generate.py",
                "torch_lotto.py", "torch_step.py",
            ]),
        // The steps to a fast product, for `bench ladder`, built as the kernels are.
        .target(name: "Ladder", path: "dev/bench/ladder", swiftSettings: kernels),
        .executableTarget(name: "fuzz", dependencies: ["LLM"], path: "dev/fuzz"),
        // The naive twin of each kernel, and a GPT-2 made of them, in double precision: what the tests compare with.
        .target(name: "Naive", dependencies: ["Kernels"], path: "Tests/Naive"),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels", "Naive", "Ladder"]),
        .testTarget(name: "GradientTests", dependencies: ["LLM", "Kernels", "Naive"]),
        // What takes time in these tests is not in their own files; unoptimized they are built a minute sooner.
        .testTarget(
            name: "LLMTests", dependencies: ["LLM", "Kernels", "Naive"], resources: [.copy("Fixtures")],
            swiftSettings: [.unsafeFlags(["-Onone"])]),
    ],
    swiftLanguageModes: [.v6]
)
