/// A token that is found in the text before the model runs, such as <|endoftext|>. The model never sees it.
package struct AddedToken: Equatable, Sendable {
    package let id: Int32
    /// The text of the token, UTF-8.
    package let content: [UInt8]
    /// Whether it is a control token: it is not recognized in a corpus and is left out of text meant for people.
    package let isSpecial: Bool
    /// Whether it is matched in normalized text, after all the others.
    package let isNormalized: Bool
    /// Whether it matches only where no word character (`\w`) is next to it.
    package let isSingleWord: Bool
    /// Whether it consumes the white space before it.
    package let stripsLeft: Bool
    /// Whether it consumes the white space after it.
    package let stripsRight: Bool

    package init(
        id: Int32, content: [UInt8], isSpecial: Bool = true, isNormalized: Bool = false, isSingleWord: Bool = false,
        stripsLeft: Bool = false, stripsRight: Bool = false
    ) {
        self.id = id
        self.content = content
        self.isSpecial = isSpecial
        self.isNormalized = isNormalized
        self.isSingleWord = isSingleWord
        self.stripsLeft = stripsLeft
        self.stripsRight = stripsRight
    }
}
