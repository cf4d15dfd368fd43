/// The ids of words, with the memory.
struct WordEncoder {
    private let model: TokenModel
    private var buffers = BytePairModel.MergeBuffers()
    private let memory = WordMemory()
    private let batch = WordBatch()
    private var ids: [Int32] = []

    init(_ model: TokenModel) { self.model = model }

    /// Appends the ids of the words of `text`.
    ///
    /// A word's entry lies anywhere in a table larger than the nearest caches. Looked up one by one, each word would wait
    /// for memory, and for the one before it: finding the end of a word is a branch that the processor guesses wrong. So
    /// a few words are found first, and their entries asked for; then they are read.
    mutating func encodeGPT2(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let scanner = GPT2Words()
        let (memory, batch) = (memory, batch)
        let (words, gathered) = (batch.words, batch.ids)
        // Of a new word. Taken out and put back, for `self` changes while it is filled.
        var ids: [Int32] = []
        swap(&ids, &self.ids)
        defer { swap(&ids, &self.ids) }
        var start = 0
        while start < text.count {
            var count = 0
            while count < WordBatch.size, start < text.count {
                let end = scanner.wordEnd(in: text, from: start)
                let key =
                    start &+ 32 <= text.count
                    ? WordKey(UnsafeRawBufferPointer(text), start, end &- start)
                    : WordKey(UnsafeBufferPointer(rebasing: text[start..<end]))
                let place = memory.place(of: key)
                memory.prefetch(place)
                words[count] = WordBatch.Word(key: key, place: place, start: start, end: end)
                count &+= 1
                start = end
            }
            // The ids gather here: appending to an array word by word costs as much as finding them.
            var idCount = 0
            for i in 0..<count {
                let word = words[i]
                if word.end &- word.start <= WordKey.longestWord {
                    if let entry = memory.find(word.key, at: word.place) {
                        idCount &+= memory.copy(entry, to: gathered + idCount)
                        continue
                    }
                }
                ids.removeAll(keepingCapacity: true)
                encodeNew(UnsafeBufferPointer(rebasing: text[word.start..<word.end]), word.key, word.place, &ids)
                if ids.count <= WordBatch.roomPerWord {
                    for id in ids {
                        gathered[idCount] = id
                        idCount &+= 1
                    }
                } else {
                    output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
                    output.append(contentsOf: ids)
                    idCount = 0
                }
            }
            output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
        }
    }

    /// Appends the ids of one word, which is not empty.
    mutating func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let key = WordKey(word)
        let place = memory.place(of: key)
        if word.count <= WordKey.longestWord, let entry = memory.find(key, at: place) {
            let count = memory.copy(entry, to: batch.ids)
            output.append(contentsOf: UnsafeBufferPointer(start: batch.ids, count: count))
        } else {
            encodeNew(word, key, place, &output)
        }
    }

    /// Appends the ids of a word that is not remembered, and remembers it. Longer ones are seldom met twice.
    private mutating func encodeNew(
        _ word: UnsafeBufferPointer<UInt8>, _ key: WordKey, _ place: Int, _ output: inout [Int32]
    ) {
        let first = output.count
        model.encode(word, to: &output, &buffers)
        if word.count <= WordKey.longestWord { memory.insert(key, at: place, output[first...]) }
    }
}

/// Room for a few words and their ids.
private final class WordBatch {
    struct Word {
        var key: WordKey
        var place: Int
        var start: Int
        var end: Int
    }

    static let size = 32
    static let roomPerWord = 32
    let words = UnsafeMutablePointer<Word>.allocate(capacity: WordBatch.size)
    let ids = UnsafeMutablePointer<Int32>.allocate(capacity: WordBatch.roomPerWord * WordBatch.size)

    deinit {
        words.deallocate()
        ids.deallocate()
    }
}
