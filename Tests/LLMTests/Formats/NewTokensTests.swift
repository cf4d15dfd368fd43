// new_tokens.txt: what is written is read, and what says nothing of a model's rows is refused.

import LLM
import Testing

@Test func `new tokens are ids one after another, below the vocabulary`() throws {
    try withTemporaryDirectory { folder in
        func ids(_ text: String) throws -> Range<Int> {
            try write(Array(text.utf8), to: "\(folder)/\(NewTokens.fileName)")
            return try NewTokens.read(from: folder, V: 10)
        }
        let (two, one) = (try ids("8\tone\n9\ttwo\n"), try ids("1\ta\tb"))
        #expect(two == 8..<10 && one == 1..<2)
        for text in [
            "", "\n", "0\tone\n", "-1\tone\n", "one\n", "7\tone\n9\ttwo\n", "8\tone\n8\ttwo\n", "9\tone\n10\ttwo\n",
            "10\tone\n", "9223372036854775807\tone\n", "9223372036854775806\ta\n9223372036854775807\tb\n",
        ] {
            let error = userError { _ = try ids(text) }
            #expect(error?.message.contains("below 10") == true, "\(text): \(error?.message ?? "nothing")")
        }
    }
}
