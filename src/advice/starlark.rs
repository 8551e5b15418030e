//! Writes attributes of a `py_image_layer` as they look in a BUILD file. Pure.

use super::division::pip_package;
use crate::contents::{ExcludePattern, Target};
use crate::groups::LayerGroup;
use crate::tables::BALLAST;

/// The start of what `pip_package` returns.
const PLACEHOLDER: &str = "{pip_package:";

/// Where the rules are loaded from.
pub const DEFS: &str = "@rules_pylayer//bazel:defs.bzl";

/// An expression, and the names that a BUILD file must load for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expression {
    pub text: String,
    pub loads: Vec<&'static str>,
}

impl Expression {
    /// The lines `load(…)`, if any are needed, and `attribute = …,`.
    pub fn lines(&self, attribute: &str) -> String {
        let attribute = format!("{attribute} = {},", self.text);
        if self.loads.is_empty() {
            return attribute;
        }
        let mut names: Vec<String> = self.loads.iter().map(|name| string(name)).collect();
        names.sort_unstable();
        names.dedup();
        format!("load({}, {})\n\n{attribute}", string(DEFS), names.join(", "))
    }
}

/// The value of `layer_groups`.
pub fn layer_groups(groups: &[LayerGroup], dropped: &[String]) -> Expression {
    let mut dict = Expression { text: "{\n".to_string(), loads: Vec::new() };
    for LayerGroup { name, pattern } in groups {
        let Expression { text, loads } = self::pattern(pattern);
        dict.text += &format!("    {}: {text},\n", string(name));
        dict.loads.extend(loads);
    }
    for name in dropped {
        dict.text += &format!("    {}: None,\n", string(name));
    }
    dict.text.push('}');
    dict
}

/// The value of `exclude` with the patterns that `target` has, and `more`, each with a comment.
pub fn exclude(target: &Target, more: &[(String, String)]) -> Expression {
    let own = target.exclude.iter().filter(|exclude| exclude.attribute == "exclude");
    let own = own.map(|ExcludePattern { pattern, .. }| (pattern, String::new()));
    let more = more.iter().map(|(pattern, comment)| (pattern, format!("  # {comment}")));
    let mut list = Expression { text: "[\n".to_string(), loads: Vec::new() };
    for (pattern, comment) in own.chain(more) {
        let constant =
            BALLAST.iter().filter(|row| row.pattern == *pattern).find_map(|row| row.constant.as_deref());
        match constant {
            Some(constant) => {
                list.text += &format!("    {constant},{comment}\n");
                list.loads.push(constant);
            }
            None => list.text += &format!("    {},{comment}\n", string(pattern)),
        }
    }
    list.text.push(']');
    list
}

/// The pattern of a group, with calls of `pip_package` for what that returns.
pub fn pattern(pattern: &str) -> Expression {
    let mut parts: Vec<String> = Vec::new();
    let mut loads = Vec::new();
    // Where the text that is in no part yet begins.
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = pattern[at..].find(PLACEHOLDER) {
        let (names, end) = leading_packages(&pattern[at + found..]);
        if names.is_empty() {
            at += found + PLACEHOLDER.len();
            continue;
        }
        if start < at + found {
            parts.push(string(&pattern[start..at + found]));
        }
        let names: Vec<String> = names.into_iter().map(string).collect();
        parts.push(format!("pip_package({})", names.join(", ")));
        loads = vec!["pip_package"];
        at += found + end;
        start = at;
    }
    if start < pattern.len() || parts.is_empty() {
        parts.push(string(&pattern[start..]));
    }
    Expression { text: parts.join(" + "), loads }
}

/// The names of the packages that `pattern` consists of, if there is nothing else in it.
pub fn packages(pattern: &str) -> Option<Vec<&str>> {
    let (names, end) = leading_packages(pattern);
    (end == pattern.len() && !names.is_empty()).then_some(names)
}

/// The names of the packages at the start of `pattern`, with `|` between them, and where they end.
fn leading_packages(pattern: &str) -> (Vec<&str>, usize) {
    let mut names = Vec::new();
    let mut end = 0;
    loop {
        let at = if names.is_empty() { 0 } else { end + 1 };
        let is_next = names.is_empty() || pattern[end..].starts_with('|');
        let rest = pattern.get(at..).filter(|_| is_next).and_then(|rest| rest.strip_prefix(PLACEHOLDER));
        let name = rest.and_then(|rest| Some(rest.split_once('}')?.0));
        let Some(name) = name.filter(|name| pip_package(name).is_some()) else { return (names, end) };
        end = at + PLACEHOLDER.len() + name.len() + 1;
        names.push(name);
    }
}

/// A string literal.
pub fn string(text: &str) -> String {
    let mut literal = String::from("\"");
    for char in text.chars() {
        match char {
            '\\' | '"' => literal.extend(['\\', char]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            // Bazel has octal escapes only.
            _ if char.is_ascii_control() => literal.push_str(&format!("\\{:03o}", u32::from(char))),
            _ => literal.push(char),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_packages_are_calls() {
        let groups = [
            LayerGroup::new("torch", "{pip_package:torch}|{pip_package:triton}"),
            LayerGroup::new("so", r#"\.so$|"x""#),
        ];
        let value = layer_groups(&groups, &["interpreter".to_string()]);
        assert_eq!(
            value.lines("layer_groups"),
            r#"load("@rules_pylayer//bazel:defs.bzl", "pip_package")

layer_groups = {
    "torch": pip_package("torch", "triton"),
    "so": "\\.so$|\"x\"",
    "interpreter": None,
},"#
        );
        assert_eq!(layer_groups(&groups[1..], &[]).loads, [] as [&str; 0]);
    }

    #[test]
    fn parts_of_patterns_are_calls() {
        for (pattern, expected) in [
            ("{pip_package:uvloop}|/models/", r#"pip_package("uvloop") + "|/models/""#),
            ("/models/|{pip_package:a}|{pip_package:b}", r#""/models/|" + pip_package("a", "b")"#),
            ("{pip_package:a}|x|{pip_package:b}y", r#"pip_package("a") + "|x|" + pip_package("b") + "y""#),
            ("{pip_package:a}{pip_package:b}", r#"pip_package("a") + pip_package("b")"#),
            // `pip_package` does not return these.
            ("{pip_package:a_b}|{pip_package:", r#""{pip_package:a_b}|{pip_package:""#),
            ("{pip_package:A}|{pip_package:b}", r#""{pip_package:A}|" + pip_package("b")"#),
            ("", r#""""#),
        ] {
            assert_eq!(self::pattern(pattern).text, expected);
        }
        assert_eq!(packages("{pip_package:a}|{pip_package:b}"), Some(vec!["a", "b"]));
        assert_eq!(packages("{pip_package:a}|"), None);
        assert_eq!(packages(""), None);
    }

    #[test]
    fn known_patterns_are_constants() {
        let headers =
            BALLAST.iter().find(|row| row.constant.as_deref() == Some("INTERPRETER_HEADERS")).unwrap();
        let pattern = |attribute: &str, pattern: &str| ExcludePattern {
            attribute: attribute.into(),
            pattern: pattern.into(),
        };
        let target = Target {
            exclude: vec![pattern("tar_args", "*.md"), pattern("exclude", "/docs/")],
            ..Target::default()
        };
        let value = exclude(&target, &[(headers.pattern.clone(), "1.0 MiB".to_string())]);
        assert_eq!(value.text, "[\n    \"/docs/\",\n    INTERPRETER_HEADERS,  # 1.0 MiB\n]");
        assert_eq!(value.loads, ["INTERPRETER_HEADERS"]);
    }
}
