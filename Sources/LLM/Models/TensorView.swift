// To look at tensors where they lie: the activations of a pass and the parameters' gradients, by name and shape. The
// program `peek` shows and writes them; tests compare them with the naive model's.

/// A tensor of a model to look at. What it shows is valid until the model's next pass.
package struct TensorView {
    package let name: String
    /// Row-major, without padding. L is the first dimension of a tensor that every layer has.
    package let shape: [Int]
    package let isPerLayer: Bool
    private let tensor: Tensor
    private let buffer: UnsafeMutablePointer<Float>

    /// - Parameter layerShape: of what is used in each layer, from its first float on.
    init(
        _ tensor: Tensor, named name: String? = nil, in buffer: UnsafeMutablePointer<Float>, layerShape: [Int]
    ) {
        self.name = name ?? tensor.name
        self.tensor = tensor
        self.buffer = buffer
        isPerLayer = tensor.isPerLayer
        shape = (isPerLayer ? [tensor.layers] : []) + layerShape
    }

    /// Its copies in the layers; 1 if it is not per layer.
    package var layers: Int { tensor.layers }
    /// The shape in one layer.
    package var layerShape: [Int] { Array(shape.dropFirst(isPerLayer ? 1 : 0)) }

    /// The floats of a layer.
    package func layer(_ l: Int) -> UnsafeBufferPointer<Float> {
        precondition((0..<layers).contains(l))
        return UnsafeBufferPointer(start: buffer.at(tensor, l), count: layerShape.reduce(1, *))
    }
}

extension LanguageModel {
    /// The gradients of all parameters, named as these with a `d` in front. For a model that trains them all.
    package var gradientViews: [TensorView] {
        let (table, trained) = (parameters.table, parameters.trained)
        precondition(trained.count == table.count)
        return table.tensors.map {
            TensorView(
                $0, named: "d\($0.name)", in: parameters.gradients,
                layerShape: [$0.usedRows] + $0.layerShape.dropFirst())
        }
    }

    /// A copy of an activation of the last pass.
    package func activation(_ name: String, layer l: Int = 0) -> [Float] {
        guard let view = activations.first(where: { $0.name == name }) else {
            preconditionFailure("no activation \(name) is kept")
        }
        return Array(view.layer(l))
    }
}
