// Regular expressions against those of Python's re: whether re.fullmatch finds a name.

import LLM
import Testing

private let name = "model.layers.10.self_attn.q_proj"

@Test(arguments: [
    (".*q_proj", true), ("q_proj", false), (".*", true), ("", false), ("model", false), ("model.*proj", true),
    (#"model\.layers\.\d+\.self_attn\.(q|k|v)_proj"#, true), (#".*\.(0|1)\..*"#, false), (#".*\.(0|10)\..*"#, true),
    (#".*\.([0-9]|1[0-5])\..*q_proj$"#, true), (#"^model\.layers\.1\.(.*)"#, false), (#"^.*\.[qkv]_proj$"#, true),
    (#".*\.[^q]_proj"#, false), (#".*\.[^abc]_proj"#, true), (#".*layers\.[\d]{1,}\..*"#, true),
    (#".*layers\.\d{3}\..*"#, false), (#".*layers\.\d{,2}\..*"#, true), (#".*layers\.\d{2,}\..*"#, true),
    (#".*layers\.\d{1}\..*"#, false), (#"(?!.*vision).*q_proj"#, true), (#"^(?!.*attn).*q_proj"#, false),
    (#"(?=.*attn)model.*"#, true), (#".*?(?:self_attn|mlp).*?(?:q_proj|k_proj).*?"#, true),
    (#"(?:.*?(?:language|text).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:q_proj))"#, true),
    (#".*\bq_proj\b"#, true), (#".*\bproj"#, false), (#".*\Bproj"#, true), (#"(?P<a>model)\..*"#, true),
    (#"\Amodel.*proj\Z"#, true), (#"\w+(\.\w+)+"#, true), (#"\w+(\.\w+){4}"#, true), (#"\w+(\.\w+){3}"#, false),
    (#"\w+(\.\w+){5,9}"#, false), (#"\w+(\.\w+){0,4}"#, true), (#"(model)?.layers.*"#, true), (#"a*b?.*"#, true),
    (#"[]m]odel.*"#, true), (#"[^]]odel.*"#, true), (#"[a-]odel.*|[m-]odel.*"#, true), (#"[\w.]*"#, true),
    (#"[\D]*"#, false), (#"[\.a-z_0-9]+"#, true), (#"{a}.*|.*"#, true), (#"m{}.*"#, false), (#"()*.*"#, true),
    (#"(a|b*)*model.*"#, true), (#"(.*)*"#, true), (#"(\.?\w+\.?)*"#, true), ("é*model.*", true), ("mode[é]?l.*", true),
    (#"MODEL.*"#, false), (#"\S*"#, true), (#".*\s.*"#, false), (#"[\W\d]*"#, false), ("|.*", true),
    ("(|x)model.*|", true),
])
func `an expression matches a whole name as Python's does`(expression: String, isMatch: Bool) throws {
    #expect(try Expression(expression).matches(name) == isMatch)
}

@Test(arguments: [
    "(", ")", "a)", "[", "[]", "[z-a]", "*", "a**", "a{2}{3}", "a{3,2}", "+a", "?", "(?i)a", "(?<=a)b", "(?<!a)b",
    "(?P=a)", "(a)\\1", "(?>a)", "a*+", "a++", "\\", "\\q", "[a-\\d]", "^*", "(?", "(?P<a", "a|*", "(?(1)a|b)",
    "[a", "a\\",
])
func `what is no expression, or cannot be matched without going back, is refused`(expression: String) {
    expectUserError(expression) { _ = try Expression(expression) }
}

@Test func `no expression takes long`() throws {
    let name = String(repeating: "a", count: 60)
    for hard in ["(a+)+$b", "(a|a)*b", "(a*)*b", "((a+)+)+b", "(.*a){20}b", "(a{1,60}){1,60}b"] {
        #expect((try? Expression(hard).matches(name)) != true, "\(hard)")
    }
    let nested = String(repeating: "(", count: 30) + "a?b?" + String(repeating: "c?){1,99}", count: 30)
    _ = try? Expression(nested).matches(name)
    // As many parentheses as there may be.
    let deep = String(repeating: "(", count: 499) + "a" + String(repeating: ")", count: 499)
    #expect(try Expression(deep).matches("a"))
    expectUserError("too many characters") { _ = try Expression(String(repeating: "a", count: 1001)) }
    expectUserError("too many steps") {
        _ = try Expression("((?!.*b).)*b").matches(String(repeating: "a", count: 500))
    }
}
