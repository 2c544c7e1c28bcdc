//! The trace of what actors tell one another: recorder, file format, reader, analysis.
