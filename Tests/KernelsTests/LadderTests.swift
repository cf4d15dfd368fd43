// The steps of `bench ladder`: what is timed is a product.

import Ladder
import Naive
import Testing

@Test func `every step of the ladder computes the product`() {
    let (N, C, OC) = (2 * rungTileRows, 256, 2 * rungPanelWidth)
    let inp = noise(N * C, seed: 1)
    let weight = noise(OC * C, seed: 2)
    let B = (0..<C * OC).map { weight[$0 % OC * C + $0 / OC] }
    let expected = naiveMatmulForward(inp: doubles(inp), weight: doubles(weight), bias: nil, N: N, C: C, OC: OC)
    func expectProduct(_ name: String, _ step: (UnsafeMutablePointer<Float>) -> Void) {
        var out = [Float](repeating: .nan, count: N * OC)
        out.withUnsafeMutableBufferPointer { if let start = $0.baseAddress { step(start) } }
        let error = relativeError(doubles(out), expected)
        #expect(error < 1e-5, "\(name)")
    }
    expectProduct("three loops") { threeLoops($0, inp, weight, N: N, C: C, OC: OC) }
    expectProduct("down the columns") { threeLoopsDownColumns($0, inp, B: B, N: N, C: C, OC: OC) }
    expectProduct("row by row") { threeLoopsInOrder($0, inp, B: B, N: N, C: C, OC: OC) }
    expectProduct("one sum") {
        dotProducts($0, inp, weight, N: N, C: C, OC: OC, inEightSums: false)
    }
    expectProduct("eight sums") {
        dotProducts($0, inp, weight, N: N, C: C, OC: OC, inEightSums: true)
    }
    expectProduct("tiles") { tiles($0, inp, B: B, N: N, C: C, OC: OC) }
    var panel = [Float](repeating: .nan, count: C * rungPanelWidth)
    panel.withUnsafeMutableBufferPointer { panel in
        guard let copy = panel.baseAddress else { return }
        expectProduct("panels") { tilesOfPanels($0, inp, B: B, panel: copy, N: N, C: C, OC: OC) }
    }
}
