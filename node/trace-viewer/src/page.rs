//! The page as one HTML text: style and modules inside it, and a content policy that allows nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::assets;

/// The place in `index.html` that the style takes.
const STYLE_MARK: &str = "/*STYLE*/";
/// The place in `index.html` that the script takes.
const SCRIPT_MARK: &str = "/*SCRIPT*/";
/// The element that holds the columns in a standalone page.
const COLUMNS_OPEN: &str = r#"<script type="application/octet-stream;base64" id="columns">"#;
const COLUMNS_ELEMENT: &str =
    r#"<script type="application/octet-stream;base64" id="columns"></script>"#;
const COLUMNS_CLOSE: &str = "</script>";
const HEAD_OPEN: &str = "<head>";

/// The page, assembled, and cut where the columns belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    before_columns: String,
    after_columns: String,
    policy: String,
}

impl Page {
    /// The page of this build.
    pub fn of_this_build() -> Self {
        assemble(assets::INDEX, assets::STYLE, assets::MODULES)
    }

    /// The page as it is served: without columns, which it fetches.
    pub fn served(&self) -> String {
        [self.before_columns.as_str(), self.after_columns.as_str()].concat()
    }

    /// What a standalone page begins with; the columns in base64 follow, then [`Page::after_columns`].
    pub fn before_columns(&self) -> &str {
        &self.before_columns
    }

    /// What a standalone page ends with.
    pub fn after_columns(&self) -> &str {
        &self.after_columns
    }

    /// The content policy (CSP level 3) as a header, which also forbids framing.
    pub fn policy_header(&self) -> String {
        format!("{}; frame-ancestors 'none'", self.policy)
    }

    /// The content policy as the page itself carries it; `frame-ancestors` means nothing there.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}

/// Puts style and modules into the index, and says by hash that they alone may run.
pub(crate) fn assemble(index: &str, style: &str, modules: &[(&str, &str)]) -> Page {
    let script = join_modules(modules);
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'",
        source_hash(&script),
        source_hash(style),
    );
    let meta =
        format!(r#"{HEAD_OPEN}<meta http-equiv="Content-Security-Policy" content="{policy}">"#);
    let fill = |part: &str| {
        part.replacen(HEAD_OPEN, &meta, 1).replacen(STYLE_MARK, style, 1).replacen(
            SCRIPT_MARK,
            &script,
            1,
        )
    };
    // cut first, so that no text of a module can be taken for the columns' element
    let (before, after) = index.split_once(COLUMNS_ELEMENT).unwrap_or((index, ""));
    let before_columns = [fill(before).as_str(), COLUMNS_OPEN].concat();
    let after_columns = [COLUMNS_CLOSE, fill(after).as_str()].concat();
    Page { before_columns, after_columns, policy }
}

/// One module of all: their imports of one another go, and what they export is simply there.
fn join_modules(modules: &[(&str, &str)]) -> String {
    let mut script = String::new();
    for (name, text) in modules {
        script.push_str("// ");
        script.push_str(name);
        script.push('\n');
        for line in text.lines().filter(|line| !is_import(line)) {
            script.push_str(line.strip_prefix("export ").unwrap_or(line));
            script.push('\n');
        }
    }
    script
}

fn is_import(line: &str) -> bool {
    line.starts_with("import ") && line.contains("from './")
}

fn source_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = concat!(
        "<!doctype html><html><head><title>t</title><style>/*STYLE*/</style></head><body>",
        r#"<script type="application/octet-stream;base64" id="columns"></script>"#,
        r#"<script type="module">/*SCRIPT*/</script></body></html>"#
    );

    fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
        text.split_once(open).unwrap().1.split_once(close).unwrap().0
    }

    #[test]
    fn modules_become_one_script_without_imports_and_exports() {
        let modules = [
            ("a.js", "export const one = 1;\nexport function two() {}\n"),
            ("b.js", "import { one, two } from './a.js';\nconst text = 'export not';\ntwo(one);\n"),
        ];
        let page = assemble(INDEX, "b{}", &modules);
        assert_eq!(
            between(&page.served(), r#"<script type="module">"#, "</script>"),
            "// a.js\nconst one = 1;\nfunction two() {}\n// b.js\nconst text = 'export not';\ntwo(one);\n"
        );
    }

    #[test]
    fn the_policy_names_the_hashes_of_what_is_in_the_page() {
        let page = Page::of_this_build();
        let html = page.served();
        let script = between(&html, r#"<script type="module">"#, "</script>");
        let style = between(&html, "<style>", "</style>");
        assert!(page.policy().contains(&format!("script-src '{}'", source_hash(script))));
        assert!(page.policy().contains(&format!("style-src '{}'", source_hash(style))));
        assert!(html.contains(&format!(r#"content="{}""#, page.policy())));
        assert!(!page.policy().contains("unsafe"));
    }

    #[test]
    fn the_page_of_this_build_is_one_file_that_asks_for_nothing() {
        let html = Page::of_this_build().served();
        assert!(!html.contains(STYLE_MARK) && !html.contains(SCRIPT_MARK));
        assert!(html.contains(COLUMNS_ELEMENT), "a standalone page has nowhere to put its columns");
        for asks in [" src=", "stylesheet", "@import", "url(http"] {
            assert!(!html.contains(asks), "the page asks for something by {asks}");
        }
        let script = between(&html, r#"<script type="module">"#, "</script>");
        let left = script.lines().find(|l| l.starts_with("import ") || l.starts_with("export "));
        assert_eq!(left, None, "a line was not taken apart");
        assert!(!html.contains('\r'), "the browser would hash another text");
    }

    #[test]
    fn the_modules_of_this_build_are_those_that_the_page_lists() {
        let listed: Vec<&str> =
            assets::MODULE_LIST.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let built: Vec<&str> = assets::MODULES.iter().map(|(name, _)| *name).collect();
        assert_eq!(built, listed);
    }
}
