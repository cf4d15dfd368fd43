// Every component that a tokenizer.json can name, compared with Hugging Face's library on hard strings.

import Foundation
import LLM
import Testing

@Test func `each part gives Hugging Face's ids and texts`() throws {
    let path = try fixture("tokenizer_parts.json")
    guard case .array(let rows) = try JSON(try contents(of: path), name: path) else {
        Issue.record("no rows")
        return
    }
    #expect(rows.count > 25)
    try withTemporaryDirectory { directory in
        for row in rows {
            let name = try #require(row["name"]?.text)
            let file = "\(directory)/\(name).json"
            try write(try #require(row["tokenizer"]).text(), to: file)
            let tokenizer = try Tokenizer(path: file)
            // Written and read again, it is the same.
            let again = "\(directory)/again.json"
            try write(tokenizer.json(), to: again)
            #expect(try Tokenizer(path: again).json() == tokenizer.json(), "\(name)")
            guard case .array(let cases)? = row["cases"] else { continue }
            for hard in cases {
                guard case .array(let parts) = hard, parts.count == 4, case .string(let text) = parts[0],
                    case .array(let ids) = parts[1], case .string(let decoded) = parts[2],
                    case .string(let skipped) = parts[3]
                else {
                    Issue.record("\(name): a case is incomplete")
                    continue
                }
                let shown = String(decoding: text, as: UTF8.self)
                let expected = ids.compactMap { $0.int.map { Int32($0) } }
                #expect(try tokenizer.encode(text) == expected, "\(name): \(shown)")
                // That library replaces bytes that are not UTF-8.
                func lossy(_ bytes: [UInt8]) -> [UInt8] { Array(String(decoding: bytes, as: UTF8.self).utf8) }
                #expect(lossy(tokenizer.decode(expected)) == decoded, "\(name): \(shown)")
                #expect(
                    lossy(tokenizer.decode(expected, skippingSpecialTokens: true)) == skipped, "\(name): \(shown)")
            }
        }
    }
}
