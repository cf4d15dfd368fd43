import LLM

@main
enum Main {
    static func main() {}
}
