// The settings of known runs, from recipes.mk beside this file, which the Makefile includes too.

import Foundation

/// The settings of one known run.
package struct Recipe {
    private var values: [String: String] = [:]

    /// - Parameter name: what stands before the dot in recipes.mk.
    package init(_ name: String) {
        for line in String(decoding: PackageResources.recipes_mk, as: UTF8.self).split(separator: "\n") {
            guard line.hasPrefix(name + "."), let equals = line.range(of: " = ") else { continue }
            values[String(line[..<equals.lowerBound].dropFirst(name.count + 1))] = String(line[equals.upperBound...])
        }
        precondition(!values.isEmpty, "no recipe is called \(name)")
    }

    /// The recipe's options for the trainer.
    package func trainArguments() -> [String] {
        var line = values["TRAIN"] ?? ""
        for (name, value) in values {
            line = line.replacingOccurrences(of: "$(\(name))", with: value)
        }
        return line.split(separator: " ").map { String($0) }
    }
}
