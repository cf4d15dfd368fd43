/// The model of a tokenizer: turns a word into token ids.
package enum TokenModel: Sendable {
    case bytePair(BytePairModel)
    case wordPiece(WordPieceModel)

    /// Appends the ids of `word`, which is not empty.
    func encode(
        _ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32], _ buffers: inout BytePairModel.MergeBuffers
    ) {
        switch self {
        case .bytePair(let model): model.encode(word, to: &ids, &buffers)
        case .wordPiece(let model): model.encode(word, to: &ids)
        }
    }
}
