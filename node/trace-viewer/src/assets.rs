//! The files of the page, as they are in this build.

/// The document, with a place for the style and one for the script.
pub(crate) const INDEX: &str = include_str!("../page/index.html");
/// The style.
pub(crate) const STYLE: &str = include_str!("../page/style.css");
/// Names of the modules in the order in which they are joined, one a line.
#[cfg(test)]
pub(crate) const MODULE_LIST: &str = include_str!("../page/modules.txt");
/// The modules in that order.
pub(crate) const MODULES: &[(&str, &str)] = &[];
