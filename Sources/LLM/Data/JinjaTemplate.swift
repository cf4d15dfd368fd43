// A template in Jinja, the language of Hugging Face's chat templates. tokenizer.apply_chat_template renders with it the
// text that ChatTemplate.text gives, character by character (dev/reference/chat_template_check.py).

extension ChatTemplate {
    /// The template as a `chat_template`. What is counted when a model learns stands between `{% generation %}` and
    /// `{% endgeneration %}`: the answers and their ends.
    package var jinja: String {
        // Every tag has its minus signs, so the line ends and indents between them are not part of the text.
        func put(_ parts: String...) -> String {
            let text = parts.filter { !$0.isEmpty }.joined(separator: " ~ ")
            return text.isEmpty ? "" : "{{- \(text) -}}"
        }
        func framed(_ frame: Frame, _ content: String) -> String {
            put(ChatTemplate.expression(frame.before), content, ChatTemplate.expression(frame.after))
        }
        let content = "(message['content'] | trim)"
        var lines = ["{%- if messages[0]['role'] == 'system' -%}"]
        if let system {
            lines.append("    " + framed(system, "(messages[0]['content'] | trim)"))
        } else {
            lines.append("    {{- raise_exception('this template has no place for a system message') -}}")
        }
        lines += ["    {%- set turns = messages[1:] -%}", "{%- else -%}"]
        if let system, let defaultSystem {
            lines.append("    " + framed(system, ChatTemplate.expression(trimmed(defaultSystem), replacesEnd: false)))
        }
        let rest = Array(assistant.after.dropFirst(answerEnd.count))
        lines += [
            "    {%- set turns = messages -%}",
            "{%- endif -%}",
            "{%- for message in turns -%}",
            "    {%- if message['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}",
            "        {{- raise_exception('user and assistant take turns, user first') -}}",
            "    {%- elif message['role'] == 'user' -%}",
            "        " + framed(user, content),
            "    {%- else -%}",
            "        " + put(ChatTemplate.expression(assistant.before)),
            "        {%- generation -%}" + put(content, ChatTemplate.expression(answerEnd)) + "{%- endgeneration -%}",
            "        " + put(ChatTemplate.expression(rest)),
            "    {%- endif -%}",
            "{%- endfor -%}",
            "{%- if add_generation_prompt -%}",
            "    " + put(ChatTemplate.expression(assistant.before)),
            "{%- endif -%}",
        ]
        return lines.filter { $0.contains("{") }.joined(separator: "\n")
    }

    /// `text` as an expression in Jinja: literals, with `eos_token` for each `{eos}`; empty if the text is.
    private static func expression(_ text: [UInt8], replacesEnd: Bool = true) -> String {
        var parts: [String] = []
        func put(_ literal: ArraySlice<UInt8>) {
            if !literal.isEmpty { parts.append(quoted(literal)) }
        }
        var start = 0
        for range in replacesEnd ? ranges(of: endOfText, in: text) : [] {
            put(text[start..<range.lowerBound])
            parts.append("eos_token")
            start = range.upperBound
        }
        put(text[start...])
        return parts.joined(separator: " ~ ")
    }

    /// `text` as a literal in Jinja, whose escapes are Python's.
    private static func quoted(_ text: ArraySlice<UInt8>) -> String {
        var literal: [UInt8] = []
        for byte in text {
            switch byte {
            case UInt8(ascii: "\\"): literal += Array("\\\\".utf8)
            case UInt8(ascii: "'"): literal += Array("\\'".utf8)
            case 9: literal += Array("\\t".utf8)
            case 10: literal += Array("\\n".utf8)
            case 13: literal += Array("\\r".utf8)
            default: literal.append(byte)
            }
        }
        return "'" + String(decoding: literal, as: UTF8.self) + "'"
    }
}
