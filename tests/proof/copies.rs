//! Examples, where an instance finds them.

use std::fs;
use std::path::Path;

use crate::instance::Instance;

/// Copies the files of an example into the units directory, with these texts replaced.
pub(crate) fn copy_example(instance: &Instance, example: &str, replaced: &[(&str, String)]) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
    for entry in fs::read_dir(from).expect("an example").flatten() {
        let mut text = fs::read_to_string(entry.path()).expect("a file of an example");
        for (old, new) in replaced {
            text = text.replace(old, new);
        }
        fs::write(instance.path("units").join(entry.file_name()), text).expect("a copy");
    }
}
