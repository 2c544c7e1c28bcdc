//! The files of the page, as they are in this build.

/// The document, with a place for the style and one for the script.
pub(crate) const INDEX: &str = include_str!("../page/index.html");
/// The style.
pub(crate) const STYLE: &str = include_str!("../page/style.css");
/// Names of the modules in the order in which they are joined, one a line.
#[cfg(test)]
pub(crate) const MODULE_LIST: &str = include_str!("../page/modules.txt");
/// The modules in that order.
pub(crate) const MODULES: &[(&str, &str)] = &[
    ("text.js", include_str!("../page/text.js")),
    ("decode.js", include_str!("../page/decode.js")),
    ("rows.js", include_str!("../page/rows.js")),
    ("filter.js", include_str!("../page/filter.js")),
    ("follow.js", include_str!("../page/follow.js")),
    ("path.js", include_str!("../page/path.js")),
    ("latency.js", include_str!("../page/latency.js")),
    ("state.js", include_str!("../page/state.js")),
    ("dom.js", include_str!("../page/dom.js")),
    ("colours.js", include_str!("../page/colours.js")),
    ("density.js", include_str!("../page/density.js")),
    ("scene.js", include_str!("../page/scene.js")),
    ("ladder.js", include_str!("../page/ladder.js")),
    ("overview.js", include_str!("../page/overview.js")),
    ("tables.js", include_str!("../page/tables.js")),
    ("details.js", include_str!("../page/details.js")),
    ("controls.js", include_str!("../page/controls.js")),
    ("live.js", include_str!("../page/live.js")),
    ("main.js", include_str!("../page/main.js")),
];
