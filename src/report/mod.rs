//! Writes the page about an image: one HTML file that loads nothing. Pure.

mod data;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest, Sha256};

use crate::advice::Advice;
use crate::contents::ImageContents;
use crate::groups;
use crate::show;

use self::data::PageData;

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// A page about `image`, and about its difference from another image
/// ([`difference::page_json`](crate::difference::page_json)).
pub fn page(
    image: &ImageContents,
    advice: &[Advice],
    diff: Option<serde_json::Value>,
) -> Result<String, groups::Error> {
    let data = PageData::new(image, advice, diff)?;
    let json = serde_json::to_string(&data).expect("strings and numbers are JSON");
    let parts = [
        ("{{title}}", escape(&format!("{}: layers", show::show(image.name.as_bytes())))),
        ("{{css_sha256}}", sha256(CSS)),
        ("{{js_sha256}}", sha256(SCRIPT)),
        ("/*{{css}}*/", CSS.to_string()),
        ("/*{{js}}*/", SCRIPT.to_string()),
        // HTML ends a script at the first `</script`, wherever it is.
        ("{{data}}", json.replace('<', "\\u003c")),
    ];
    Ok(fill_in(HTML, &parts))
}

/// Replaces each marker in `template` by its text, which is not searched for markers.
fn fill_in(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    let next = |rest: &str| {
        let found = parts.iter().filter_map(|(marker, text)| Some((rest.find(marker)?, *marker, text)));
        found.min_by_key(|(at, ..)| *at).map(|(at, marker, text)| (at, marker.len(), text))
    };
    while let Some((at, length, text)) = next(rest) {
        page.push_str(&rest[..at]);
        page.push_str(text);
        rest = &rest[at + length..];
    }
    page + rest
}

/// The digest of a style or script in a Content-Security-Policy (W3C, "Content Security Policy Level 3").
fn sha256(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}

/// `text` as text of an HTML element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{Component, ComponentKind, Entry, Kind, LayerContents, SCHEMA};

    fn image(paths: &[&str]) -> ImageContents {
        let file = |path: &&str| Entry {
            size: 5,
            compressed: 4,
            sha256: Some("ab".repeat(32)),
            ..Entry::new(path.as_bytes(), Kind::File)
        };
        let component = Component { kind: ComponentKind::Directory, name: "/a".into(), version: None };
        ImageContents {
            schema: SCHEMA.into(),
            name: "//a:<layers>".into(),
            components: vec![component],
            layers: vec![LayerContents {
                name: "default".into(),
                entries: paths.iter().map(file).collect(),
                ..LayerContents::default()
            }],
            partition: None,
        }
    }

    /// The data in a page.
    fn data(page: &str) -> serde_json::Value {
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn names_cannot_end_the_script_or_be_taken_for_markers() {
        let hostile = "a/</script>{{title}}/*{{js}}*/";
        let page = page(&image(&[hostile]), &[], None).unwrap();
        assert_eq!(page.matches("</script>").count(), HTML.matches("</script>").count());
        assert!(page.contains("<title>//a:&lt;layers&gt;: layers</title>"));
        let data = data(&page);
        assert_eq!(
            data["directories"]["name"],
            serde_json::json!(["", "a", "<", "script>{{title}}", "*{{js}}*"])
        );
        assert!(page.contains(&format!("script-src 'sha256-{}'", sha256(SCRIPT))));
        assert_eq!(sha256(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn files_are_in_columns() {
        let data = data(&page(&image(&["a/b/c", "d", "a/b/e"]), &[], None).unwrap());
        assert_eq!(data["directories"]["parent"], serde_json::json!([-1, 0, 1]));
        assert_eq!(data["files"]["directory"], serde_json::json!([2, 0, 2]));
        assert_eq!(data["files"]["name"], serde_json::json!(["c", "d", "e"]));
        assert_eq!(data["files"]["kind"], "fff");
        assert!(data["files"].get("pattern").is_none() && data.get("patterns").is_none());
        assert_eq!(data["duplicates"], serde_json::json!([{"size": 5, "wasted": 10, "files": [0, 1, 2]}]));
    }
}
