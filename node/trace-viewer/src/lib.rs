//! The viewer of traces: a page and a terminal.
