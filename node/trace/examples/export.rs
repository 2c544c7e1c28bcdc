//! Exports a trace: `export perfetto|otlp FILE|DIR OUT`.

use std::{env, fs::File, io::BufWriter, path::Path};

use moorline_trace::{export, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [format, trace, out] = &arguments[..] else {
        return Err("export perfetto|otlp FILE|DIR OUT".into());
    };
    let loaded = load(Path::new(trace))?;
    let mut out = BufWriter::new(File::create(out)?);
    match format.as_str() {
        "perfetto" => export::perfetto(&loaded.model, &mut out)?,
        "otlp" => export::otlp(&loaded.model, &mut out)?,
        _ => return Err("the formats are perfetto and otlp".into()),
    }
    Ok(())
}
