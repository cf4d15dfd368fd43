// The state of a run between two steps.

/// The measure by which the best model is chosen.
package enum BestBy: String, CaseIterable { case none, loss, accuracy }

/// The state that a resumed run continues with, beside the parameters and AdamW's moments.
package struct TrainingState: Equatable {
    package var step: Int
    /// What the random numbers of samples start from.
    package var samplerState: UInt64
    package var loader: DataLoader.Position
    package var lossWindow: OutlierWindow
    package var normWindow: OutlierWindow
    /// The best validation result so far, and what it was measured by.
    package var best: Double?
    package var bestBy: BestBy
    /// The micro-batch (B,T) and the data's fingerprint, which a resumed run must share; 0 where a file does not say.
    package var B: Int
    package var T: Int
    package var data: UInt64
    /// The options that the run was started with, as a user would type their values, by their long names.
    package var settings: [String: String]

    package init(
        step: Int, samplerState: UInt64, loader: DataLoader.Position, lossWindow: OutlierWindow,
        normWindow: OutlierWindow, best: Double?, bestBy: BestBy = .none, B: Int = 0, T: Int = 0, data: UInt64 = 0,
        settings: [String: String] = [:]
    ) {
        (self.bestBy, self.B, self.T, self.data, self.settings) = (bestBy, B, T, data, settings)
        self.step = step
        self.samplerState = samplerState
        self.loader = loader
        self.lossWindow = lossWindow
        self.normWindow = normWindow
        self.best = best
    }
}
