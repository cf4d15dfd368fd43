// Where trainers differ in numbers that no option names. A run that is to be compared with another's, step by step, has to
// follow the same conventions.

/// The trainer whose conventions a run follows.
package enum Conventions: String, CaseIterable {
    /// karpathy/llm.c's train_gpt2.cu.
    case llmC = "llm.c"
    /// Hugging Face's Trainer. It also counts steps in its own way: an epoch's last batch, and its last step, may be
    /// smaller than the others. Here they are dropped, so to have as many steps give their number.
    case transformers

    /// The first numerator of a warm-up over W steps: it goes over 1/W, 2/W … or over 0/W, 1/W … (In transformers the
    /// first step of a run with a warm-up leaves the parameters as they are.)
    var firstWarmupStep: Int { self == .llmC ? 1 : 0 }

    /// Whether the schedule `constant` has a warm-up, as transformers' constant_with_warmup has.
    var warmsUpConstant: Bool { self == .transformers }

    /// AdamW's β₂; β₁ is 0.9 and ε 10⁻⁸ in both.
    var beta2: Double { self == .llmC ? 0.95 : 0.999 }

    /// The factor that limits a gradient of this norm to a norm of 1.
    func clipScale(norm: Double) -> Float {
        switch self {
        case .llmC: norm > 1 ? Float(1 / norm) : 1
        case .transformers: Float(min(1, 1 / (norm + 1e-6)))
        }
    }
}
