// A conversation as a person has it, by lines and on a terminal, and as a program has it; and generate --chat.

import Foundation
import LLM
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A GPT-2 in model.bin, with its tokenizer and a template beside it. It writes the token `x`, whatever it reads.
private func withModel(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        try tokenizer.write(to: "\(folder)/model")
        let x = try tokenizer.encode(Array("x".utf8))
        let model = GPT2(GPT2Configuration(maxT: 64, V: tokenizer.vocabularySize, L: 1, NH: 1, C: 4), trains: false)
        for tensor in model.parameters.table.tensors {
            let values = model.parameters.values + tensor
            for i in 0..<tensor.count { values[i] = 0 }
            if tensor.name == "lnfb" { values[0] = 1 }
            if tensor.name == "wte" { values[Int(x[0]) * 4] = 50 }
        }
        let files = DurableFiles()
        try HuggingFaceGPT2.write(
            model, tokenizer,
            ChatTemplate(
                ["system": "S {content}\n", "user": "Q {content}\n", "assistant": "A {content}{eos}\n"], name: "own"),
            to: "\(folder)/model", in: files)
        try files.commit()
        try body(folder)
    }
}

private let options = ["--model", "model", "-n", "3"]

@Test func `a conversation by lines`() throws {
    try withModel { folder in
        try write(Array("something else\n".utf8), to: "\(folder)/notes.txt")
        let input = """
            hello

              \t
            two \\
            lines
            //slash
            /save chat.jsonl
            /save nowhere/chat.jsonl
            /save notes.txt
            /reset
            /system be brief
            /system
            /savr x
            /retry
            /adapter
            /quit now
            again
            /retry
            /save chat.jsonl
            /quit
            never
            """
        let result = try run("chat", options, in: folder, input: input)
        #expect(result.status == 0 && result.output == String(repeating: "xxx\n", count: 5))
        let errors = result.errors.split(separator: "\n").filter { $0.hasPrefix("error: ") }
        #expect(
            errors == [
                "error: there is no folder nowhere",
                "error: notes.txt is there, and no file of conversations, one a line",
                "error: there is no command /savr", "error: there is no answer to try again",
                "error: there are no adapters", "error: /quit takes nothing after it",
            ], "\(result.errors)")
        #expect(result.errors.contains("did you mean /save?") && result.errors.contains("\nbe brief\n"))
        #expect(try contents(of: "\(folder)/notes.txt") == Array("something else\n".utf8))
        let saved = String(decoding: try contents(of: "\(folder)/chat.jsonl"), as: UTF8.self)
        func message(_ role: String, _ text: String) -> String { "{\"role\":\"\(role)\",\"content\":\"\(text)\"}" }
        let turns = ["hello", "two \\nlines", "/slash"].map { message("user", $0) + "," + message("assistant", "xxx") }
        let second = ["system", "user", "assistant"].enumerated().map { message($1, ["be brief", "again", "xxx"][$0]) }
        #expect(
            saved == "{\"messages\":[\(turns.joined(separator: ","))]}\n"
                + "{\"messages\":[\(second.joined(separator: ","))]}\n")
        // And on with it.
        let more = try run(
            "chat", options + ["--load", "chat.jsonl"], in: folder, input: "/system\nmore\n/save more.jsonl\n")
        #expect(more.errors.contains("be brief\n") && more.output == "xxx\n")
        #expect(try contents(of: "\(folder)/more.jsonl").count > saved.utf8.count / 2)
    }
}

@Test func `what is typed wrongly is an error of its line`() throws {
    try withModel { folder in
        let input = String(repeating: "long ", count: 2000) + "\nok\n" + String(repeating: "q\n", count: 9)
        let result = try run("chat", options, in: folder, input: input)
        #expect(result.status == 0 && result.output == String(repeating: "xxx\n", count: 10))
        #expect(result.errors.contains("error: the question is too long"))
        #expect(result.errors.components(separatedBy: "its oldest turns are left out").count == 2)
    }
}

@Test func `adapters are taken by name`() throws {
    try withModel { folder in
        let model = try readModel("\(folder)/model")
        var settings = LoRAConfiguration()
        settings.rank = 1
        for name in ["one", "two"] {
            let adapter = try Adapter(settings, on: model.config)
            let files = DurableFiles()
            try PEFTAdapter.write(
                adapter, on: model, basePath: "model", fingerprint: model.parameters.fingerprint,
                to: "\(folder)/\(name)", in: files)
            try files.commit()
        }
        let result = try run(
            "chat", ["--adapter", "one", "b=two", "-n", "3"], in: folder,
            input: "/adapter\n/adapter b\n/adapter\nq\n/adapter c\n")
        #expect(result.output == "xxx\n")
        #expect(result.errors.hasPrefix("* one\n  b\n  one\n* b\n"), "\(result.errors)")
        #expect(result.errors.contains("error: there is no adapter c\nhint: there are one, b\n"))
    }
}

@Test func `a program speaks JSON`() throws {
    try withModel { folder in
        let input = """
            {"role": "user", "content": "q"}
            {"messages": [{"role": "user", "content": "\\ud55c"}]}

            {"role": "user", "content": "r"}
            {"command": "reset"}
            {"role": "user", "content": "q"}
            nonsense
            {"command": "stop"}
            {"role": "assistant", "content": "q"}
            {"role": "user", "content": ""}
            {"messages": [{"role": "assistant", "content": "q"}]}
            """
        let result = try run("chat", options + ["--json"], in: folder, input: input)
        #expect(result.status == 0 && result.errors.isEmpty)
        let lines = try result.output.split(separator: "\n").map { try JSON(Array($0.utf8), name: "line") }
        var ends: [JSON] = []
        var text = ""
        for line in lines {
            if let delta = line["delta"]?.text { text += delta } else { ends.append(line) }
            if let content = line["message"]?["content"]?.text {
                #expect(content == "xxx" && text == content && line["message"]?["role"]?.text == "assistant")
                #expect(line["finish_reason"]?.text == "length" && line["usage"]?["completion_tokens"]?.int == 3)
                text = ""
            }
        }
        #expect(ends.count == 10)
        let tokens = ends.map { $0["usage"]?["prompt_tokens"]?.int }
        #expect(tokens[0] == tokens[4] && (tokens[2] ?? 0) > (tokens[0] ?? 0) && tokens[3] == nil)
        #expect(ends[3]["command"]?.text == "reset")
        for end in ends[5...] {
            #expect(end["error"]?["message"]?.text?.isEmpty == false && end["error"]?["hint"]?.text != nil)
        }
    }
}

@Test func `a mistake in what is given is told before anything is read`() throws {
    try withModel { folder in
        try expectRefusal("--model is missing", hint: "--adapter", of: "chat", [], in: folder, status: 2)
        try expectRefusal("there is no model nowhere", of: "chat", ["--model", "nowhere"], in: folder)
        try expectRefusal(
            "leaves no room for a question", of: "chat", ["--model", "model", "-n", "64"], in: folder, status: 2)
        try expectRefusal(
            "is no special token", of: "chat", options + ["--template", "chatml"], in: folder)
        try FileManager.default.removeItem(atPath: "\(folder)/model/template.json")
        try expectRefusal("is in Jinja", hint: "--template", of: "chat", options, in: folder)
        try FileManager.default.removeItem(atPath: "\(folder)/model/chat_template.jinja")
        try Tokenizer(path: fixture("tokenizer_600.json")).write(to: "\(folder)/model")
        try FileManager.default.removeItem(atPath: "\(folder)/model/tokenizer_config.json")
        try expectRefusal("has no template", hint: "finetune --model model", of: "chat", options, in: folder)
        try expectRefusal("has no template", of: "generate", options + ["--chat", "-p", "q"], in: folder)
        let result = try run("chat", options + ["--template", "korean"], in: folder, input: "q")
        #expect(result.output == "xxx\n")
    }
}

@Test func `generate --chat gives the answer alone`() throws {
    try withModel { folder in
        let ask = options + ["--chat", "--prompt", "q"]
        #expect(try run("generate", ask, in: folder).output == "xxx\n")
        #expect(try run("generate", ask + ["--num-samples", "2"], in: folder).output == "xxx\n---\nxxx\n")
        let line = try JSON(
            Array(try run("generate", ask + ["--json", "--system", "s"], in: folder).output.utf8), name: "line")
        #expect(line["prompt"]?.text == "S s\nQ q\nA " && line["text"]?.text == "xxx")
        #expect(try run("generate", options + ["--prompt", "q"], in: folder).output == "qxxx\n")
        try expectRefusal("needs a question", of: "generate", options + ["--chat"], in: folder, status: 2)
        try expectRefusal(
            "--system is for answers", of: "generate", options + ["--system", "s"], in: folder, status: 2)
    }
}

/// chat on a terminal of its own.
private func onTerminal(in folder: String, _ body: (_ master: Int32, Process) throws -> Void) throws {
    var (master, slave): (Int32, Int32) = (-1, -1)
    guard openpty(&master, &slave, nil, nil, nil) == 0 else {
        throw UserError("no terminal", hint: "is /dev/pts mounted?")
    }
    defer { close(master) }
    let process = Process()
    process.executableURL = executable("chat")
    process.arguments = options
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    process.environment = ["TERM": "xterm"]
    let handle = FileHandle(fileDescriptor: slave, closeOnDealloc: true)
    (process.standardInput, process.standardOutput, process.standardError) = (handle, handle, handle)
    // A thread of Dispatch, as this one may be, blocks all signals, and so would the program.
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
    defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
    try body(master, process)
}

/// Reads until a text is there, or `process` has ended without it.
private func read(_ master: Int32, of process: Process, until text: String) -> String {
    var all: [UInt8] = []
    var bytes = [UInt8](repeating: 0, count: 4096)
    while !String(decoding: all, as: UTF8.self).contains(text) {
        var input = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        let isRunning = process.isRunning
        if poll(&input, 1, 100) == 0 {
            if isRunning { continue }
            break
        }
        let count = read(master, &bytes, bytes.count)
        guard count > 0 else { break }
        all += bytes[..<count]
    }
    return String(decoding: all, as: UTF8.self)
}

private func type(_ text: String, _ master: Int32) {
    let bytes = Array(text.utf8)
    _ = write(master, bytes, bytes.count)
}

private func echoes(_ master: Int32) -> Bool {
    var mode = termios()
    return tcgetattr(master, &mode) == 0 && mode.c_lflag & tcflag_t(ECHO | ICANON) == tcflag_t(ECHO | ICANON)
}

@Test func `on a terminal lines are edited, and it is as before in the end`() throws {
    try withModel { folder in
        try onTerminal(in: folder) { master, process in
            let prompt = "> \r\u{1B}[2C"
            #expect(read(master, of: process, until: prompt).contains("\u{1B}[?2004h"))
            #expect(!echoes(master))
            type("안녕\u{7F}", master)
            _ = read(master, of: process, until: "> 안\r")
            type("\r", master)
            #expect(read(master, of: process, until: prompt).contains("\nxxx\r\n"))
            type("\u{1B}[A", master)
            #expect(read(master, of: process, until: "안\r\u{1B}[4C").contains("> 안"))
            type("\u{3}\u{4}", master)
            process.waitUntilExit()
            #expect(process.terminationStatus == 0 && echoes(master))
        }
        try onTerminal(in: folder) { master, process in
            _ = read(master, of: process, until: "> ")
            #expect(!echoes(master))
            process.terminate()
            process.waitUntilExit()
            #expect(process.terminationReason == .uncaughtSignal && echoes(master))
        }
    }
}
