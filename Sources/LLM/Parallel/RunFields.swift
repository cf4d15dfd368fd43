// What the ranks of a run compare before the first step. Whoever differs would spoil the model for all, and nobody would see
// it: the loss still falls.

import Kernels

/// What tells a run from another one, by name.
/// - Parameters:
///   - validation: its data's checksum.
///   - steps: of the run.
func runFields(
    _ state: TrainingState, _ settings: TrainingSettings, _ parameters: Parameters, validation: UInt64?, steps: Int
) -> [Ranks.Field] {
    var fields: [Ranks.Field] = [
        ("version", "\(projectVersion), vectors of \(vectorWidth) floats"), ("number of steps", "\(steps)"),
        ("step to begin with", "\(state.step)"), ("--dry-run", settings.isDryRun ? "1" : "0"),
    ]
    fields += state.settings.sorted { $0.key < $1.key }.map { ("--\($0.key)", $0.value) }
    func add(_ name: String, _ buffers: [(UnsafeMutablePointer<Float>, Int)]) {
        var checksum = Checksum()
        for (floats, count) in buffers {
            checksum.update(UnsafeRawBufferPointer(start: floats, count: 4 * count))
        }
        fields.append((name, String(checksum.value, radix: 16)))
    }
    fields.append(("text to learn from", String(state.data, radix: 16)))
    fields.append(("text to validate with", String(validation ?? 0, radix: 16)))
    add(
        "model",
        [(parameters.values, parameters.table.count)] + (parameters.adapter.map { [($0.values, $0.table.count)] } ?? [])
    )
    if state.step > 0 {
        add(
            "state of the optimizer",
            [(parameters.m, parameters.trained.count), (parameters.v, parameters.trained.count)])
    }
    return fields
}
