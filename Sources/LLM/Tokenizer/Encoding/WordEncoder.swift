// Most words of a text have occurred before, so encoding is mostly looking them up. That is why the scanner is written
// by hand, why an entry of the cache fits into one line of memory, and why a hit allocates nothing.

/// An encoder of words to ids, with a cache of words. It belongs to one thread.
struct WordEncoder {
    private let model: TokenModel
    private var buffers = BytePairModel.MergeBuffers()
    private let cache = WordCache()
    private let batch = WordBatch()
    private var ids: [Int32] = []

    init(_ model: TokenModel) { self.model = model }

    /// Appends the ids of the words of `text`.
    mutating func encode(
        _ text: UnsafeBufferPointer<UInt8>, wordsOf pattern: WordPattern, to output: inout [Int32]
    ) {
        switch pattern {
        case .gpt2: encode(text, GPT2Words(), to: &output)
        case .cl100k, .llama3, .qwen: encode(text, CL100KWords(pattern), to: &output)
        case .o200k: encode(text, O200KWords(), to: &output)
        }
    }

    /// Appends the ids of the words of `text`.
    ///
    /// The table of words is larger than the processor's near caches. Looked up one by one, each word would wait for
    /// memory and for the word before it, because the end of a word is a branch that is often mispredicted. So a batch
    /// of words is scanned first and their entries are prefetched; then the entries are read.
    private mutating func encode(
        _ text: UnsafeBufferPointer<UInt8>, _ scanner: some WordScanner, to output: inout [Int32]
    ) {
        let (cache, batch) = (cache, batch)
        let (words, gathered) = (batch.words, batch.ids)
        // The ids of a new word. The array is taken out and put back, because `self` changes while it is filled.
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
                let place = cache.place(of: key)
                cache.prefetch(place)
                words[count] = WordBatch.Word(key: key, place: place, start: start, end: end)
                count &+= 1
                start = end
            }
            // Ids are gathered here first: appending to an array word by word costs as much as finding them.
            var idCount = 0
            for i in 0..<count {
                let word = words[i]
                if word.end &- word.start <= WordKey.longestWord {
                    if let entry = cache.find(word.key, at: word.place) {
                        idCount &+= cache.copy(entry, to: gathered + idCount)
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
        let place = cache.place(of: key)
        if word.count <= WordKey.longestWord, let entry = cache.find(key, at: place) {
            let count = cache.copy(entry, to: batch.ids)
            output.append(contentsOf: UnsafeBufferPointer(start: batch.ids, count: count))
        } else {
            encodeNew(word, key, place, &output)
        }
    }

    /// Appends the ids of a word that is not in the cache, and caches it unless it is long. Long words rarely recur.
    private mutating func encodeNew(
        _ word: UnsafeBufferPointer<UInt8>, _ key: WordKey, _ place: Int, _ output: inout [Int32]
    ) {
        let first = output.count
        model.encode(word, to: &output, &buffers)
        if word.count <= WordKey.longestWord { cache.insert(key, at: place, output[first...]) }
    }
}

/// Buffers for a batch of words and their ids.
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
