// A word of the vocabulary that the model never sees: it is found in the text before anything else happens.

/// A token that stands for itself wherever it appears in a text, such as <|endoftext|>.
package struct AddedToken: Equatable, Sendable {
    package let id: Int32
    /// UTF-8.
    package let content: [UInt8]
    /// Whether it is left out of a text meant for people, and never part of one.
    package let isSpecial: Bool
    /// Whether it is looked for in the normalised text, and after all others.
    package let isNormalized: Bool
    /// Whether it counts only where no letter, digit or mark stands beside it.
    package let isSingleWord: Bool
    /// Whether it takes the white space before it, and after it.
    package let stripsLeft: Bool
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
