/// A merge of byte-pair encoding: the symbols `left` and `right`, in this order, become `result`.
package struct Merge: Equatable, Sendable {
    package let left: Int32
    package let right: Int32
    package let result: Int32

    package init(left: Int32, right: Int32, result: Int32) {
        self.left = left
        self.right = right
        self.result = result
    }
}
