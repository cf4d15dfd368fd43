import Dispatch
import Kernels

@main
enum Main {
    static func time(_ n: Int, _ f: () -> Void) -> Double {
        var ts: [Double] = []
        f()
        for _ in 0..<n { let s = DispatchTime.now().uptimeNanoseconds; f(); ts.append(Double(DispatchTime.now().uptimeNanoseconds - s) * 1e-9) }
        ts.sort(); return ts[ts.count/2]
    }
    static func main() {
        for t in [1, 2] {
            threadCount = t
            let peak = measurePeakFlops()
            print("threads", t, "peak", peak * 1e-9)
            for (N, C, OC) in [(1024, 768, 2304), (1024, 768, 768), (1024, 768, 3072), (1024, 3072, 768), (256, 768, 2304), (256,768,768), (256,3072,768), (256, 768, 50257)] {
                let inp = UnsafeMutablePointer<Float>.allocate(capacity: N*C); inp.initialize(repeating: 0.5, count: N*C)
                let w = UnsafeMutablePointer<Float>.allocate(capacity: OC*C); w.initialize(repeating: 0.01, count: OC*C)
                let out = UnsafeMutablePointer<Float>.allocate(capacity: OC*N); out.initialize(repeating: 0.01, count: OC*N)
                let b = UnsafeMutablePointer<Float>.allocate(capacity: OC); b.initialize(repeating: 0.01, count: OC)
                let fl = Double(2*N*C*OC)
                let n = OC > 10000 ? 3 : 9
                let f = time(n) { matmulForward(out: out, inp: inp, weight: w, bias: b, N: N, C: C, OC: OC) }
                let d = time(n) { matmulBackwardInput(dinp: inp, dout: out, weight: w, N: N, C: C, OC: OC) }
                let g = time(n) { matmulBackwardWeight(dweight: w, dbias: b, dout: out, inp: inp, N: N, C: C, OC: OC) }
                func pc(_ t: Double) -> Int { Int(100 * fl / t / peak) }
                print(N, C, OC, "fwd", pc(f), "dinp", pc(d), "dw", pc(g), "%   ms", f*1000, d*1000, g*1000)
            }
        }
    }
}
