// The tokenizer's collections, compared with those of the standard library, over several growths.

import LLM
import Testing

@Test func `byte strings keep their numbers while the table grows`() {
    var random = Xorshift(seed: 51)
    var table = ByteStringTable()
    var numbers: [[UInt8]: Int] = [:]
    for _ in 0..<9000 {
        // Short strings often come again; long ones differ only at their end.
        let length = random.below(20)
        let string = (0..<length).map { UInt8($0 + 2 < length ? 97 : 97 + random.below(40)) }
        let expected = numbers[string] ?? numbers.count
        #expect(table.index(of: string) == numbers[string])
        #expect(table.insert(string) == expected)
        numbers[string] = expected
    }
    #expect(table.count == numbers.count && table.count > 4096)
    for (string, number) in numbers {
        #expect(table.index(of: string) == number && Array(table[number]) == string)
    }
    #expect(table.byteCount == numbers.keys.reduce(0) { $0 + $1.count })
}

@Test func `pairs keep their numbers while the table grows`() {
    var random = Xorshift(seed: 52)
    var table = PairTable()
    var numbers: [UInt64: Int64] = [:]
    for _ in 0..<20000 {
        let key = pairKey(Int32(random.below(120)), Int32(random.below(120)))
        let change = Int64(random.below(9)) - 4
        switch random.below(3) {
        case 0:
            table.set(key, change)
            numbers[key] = change
        case 1:
            numbers[key, default: 0] += change
            #expect(table.add(key, change) == numbers[key])
        default:
            table.addIfKnown(key, change)
            if numbers[key] != nil { numbers[key, default: 0] += change }
        }
    }
    #expect(table.count == numbers.count && table.count > 6000)
    for left in Int32(0)..<120 {
        for right in Int32(0)..<120 { #expect(table[pairKey(left, right)] == numbers[pairKey(left, right)]) }
    }
}

@Test func `a heap gives its elements in order`() {
    var random = Xorshift(seed: 53)
    for count in [0, 1, 2, 3, 4, 7, 8, 100, 1001] {
        var heap = Heap<Int>()
        let elements = (0..<count).map { _ in random.below(50) }
        for element in elements { heap.push(element) }
        var popped: [Int] = []
        while let next = heap.pop() { popped.append(next) }
        #expect(popped == elements.sorted() && heap.isEmpty)
    }
}

@Test func `a segmented array keeps its elements over several segments`() {
    let size = SegmentedArray.segmentSize
    var array = SegmentedArray()
    for i in 0..<size + 5 { array.append(UInt32(i)) }
    array.grow(to: 2 * size + 9)
    for i in size + 5..<2 * size + 9 { array[i] = UInt32(i) }
    array.append(7)
    #expect(array.count == 2 * size + 10 && array[2 * size + 9] == 7)
    #expect((0..<2 * size + 9).allSatisfy { array[$0] == UInt32($0) })
}
