//! Reads the functions out of the C header, and writes a C program that calls each of them with NULL and 0.
//!
//! Knows as much C as cbindgen writes, no more.

/// One function of the header.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Type of its result, as the header has it.
    pub(crate) result: String,
    /// Its parameters, in their order.
    pub(crate) parameters: Vec<Parameter>,
}

/// One parameter of a function.
pub(crate) struct Parameter {
    /// Its type, as the header has it.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
}

/// All functions that `header` declares.
pub(crate) fn functions(header: &str) -> Vec<Function> {
    let code = without_comments(header);
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    lines.join(" ").split(';').filter_map(function).collect()
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some(start) = rest.find("/*") {
        kept.push_str(&rest[..start]);
        let end = rest[start..].find("*/").expect("a comment that ends");
        rest = &rest[start + end + 2..];
    }
    kept + rest
}

fn function(declaration: &str) -> Option<Function> {
    let declaration = declaration.rsplit('{').next()?.trim();
    if declaration.starts_with("typedef") {
        return None;
    }
    let (before, parameters) = declaration.strip_suffix(')')?.split_once('(')?;
    let at = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))? + 1;
    let name = before[at..].to_owned();
    assert!(name.starts_with("boxlite_"), "a function without our prefix: {declaration}");
    let parameters = match parameters.trim() {
        "void" => Vec::new(),
        list => list.split(',').map(parameter).collect(),
    };
    Some(Function { name, result: before[..at].trim().to_owned(), parameters })
}

/// `const char *name`, taken apart.
fn parameter(text: &str) -> Parameter {
    let kind = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    assert!(!kind.trim().is_empty(), "a parameter without a name: {text}");
    Parameter { kind: kind.trim().to_owned(), name: text[kind.len()..].to_owned() }
}

/// A program, both C99 and C++17, that calls every function with NULL and 0. Those that return a code must refuse that,
/// with an error that has a message and a hint.
pub(crate) fn calls_of_every_function(functions: &[Function]) -> String {
    let mut text = String::from(
        "#include <boxlite.h>\n#include <stdio.h>\n\n\
         static int faults = 0;\n\n\
         static void refused(const char *name, boxlite_code code, boxlite_error *error) {\n\
         \x20   const char *message = boxlite_error_message(error), *hint = boxlite_error_hint(error);\n\
         \x20   if (code != BOXLITE_INVALID_ARGUMENT || boxlite_error_code(error) != code || !message[0] || !hint[0]) {\n\
         \x20       fprintf(stderr, \"%s: code %d, message '%s', hint '%s'\\n\", name, (int)code, message, hint);\n\
         \x20       faults++;\n\
         \x20   }\n\
         \x20   boxlite_error_free(error);\n\
         }\n\n",
    );
    for function in functions {
        text.push_str(&call(function));
    }
    text.push_str("int main(void) {\n");
    for function in functions {
        text.push_str(&format!("    call_{}();\n", function.name));
    }
    text.push_str("    return faults != 0;\n}\n");
    text
}

/// A C function that calls `function`, typed by the header, so that the compiler checks each parameter.
fn call(function: &Function) -> String {
    let name = &function.name;
    let mut text = format!("static void call_{name}(void) {{\n");
    let takes_error = function.parameters.last().is_some_and(|last| last.kind == "boxlite_error **");
    let mut arguments = Vec::new();
    for (index, Parameter { kind, .. }) in function.parameters.iter().enumerate() {
        if takes_error && index + 1 == function.parameters.len() {
            text.push_str("    boxlite_error *error = NULL;\n");
            arguments.push("&error".to_owned());
        } else {
            let zero = if kind.ends_with('*') || kind.ends_with("_fn") { "NULL" } else { "0" };
            text.push_str(&format!("    {kind} argument{index} = {zero};\n"));
            arguments.push(format!("argument{index}"));
        }
    }
    let call = format!("{name}({})", arguments.join(", "));
    if takes_error {
        assert_eq!(function.result, "boxlite_code", "{name} takes an error but returns no code");
        text.push_str(&format!("    boxlite_code code = {call};\n    refused(\"{name}\", code, error);\n"));
    } else if function.result == "void" {
        text.push_str(&format!("    {call};\n"));
    } else {
        text.push_str(&format!("    {} result = {call};\n    (void)result;\n", function.result));
    }
    text + "}\n\n"
}
