// How the learning rate changes over the steps; as in llm.c, or from 0 on, as in transformers.

import Foundation

/// The learning rate as a function of the step.
package struct Schedule {
    package enum Shape: String, CaseIterable { case cosine, linear, constant, wsd }

    package var shape: Shape
    package var learningRate: Double
    package var warmupSteps: Int
    package var steps: Int
    /// What is left of the learning rate at the end, as a fraction.
    package var finalFraction: Double
    /// What the warm-up begins with.
    package var conventions: Conventions

    package init(
        shape: Shape, learningRate: Double, warmupSteps: Int, steps: Int, finalFraction: Double,
        conventions: Conventions = .llmC
    ) {
        self.shape = shape
        self.learningRate = learningRate
        self.warmupSteps = warmupSteps
        self.steps = steps
        self.finalFraction = finalFraction
        self.conventions = conventions
    }

    /// The learning rate of a step, counted from 0.
    package func rate(at step: Int) -> Double {
        if shape == .constant, !conventions.warmsUpConstant { return learningRate }
        if step < warmupSteps {
            return learningRate * Double(step + conventions.firstWarmupStep) / Double(warmupSteps)
        }
        let final = learningRate * finalFraction
        func progress(since start: Int) -> Double {
            min(1, max(0, Double(step - start) / Double(max(1, steps - start))))
        }
        switch shape {
        case .constant: return learningRate
        case .cosine: return final + 0.5 * (1 + cos(.pi * progress(since: warmupSteps))) * (learningRate - final)
        case .linear: return learningRate - progress(since: warmupSteps) * (learningRate - final)
        case .wsd:  // warm-up, stable, decay over the last fifth with 1 − √ (Hägele et al., 2024)
            let decayStart = Int(0.8 * Double(steps))
            if step < decayStart { return learningRate }
            return final + (1 - progress(since: decayStart).squareRoot()) * (learningRate - final)
        }
    }
}
