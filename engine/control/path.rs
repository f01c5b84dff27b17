//! Where a control socket lies, however long the path.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The longest path that fits `sun_path` with its closing zero.
const PATH_MOST: usize = 107;
const NAME: &str = "control.sock";

/// A path of the control socket that fits a socket address, and what keeps that path valid.
pub(super) struct Reach {
    pub(super) path: PathBuf,
    _home: Option<File>,
}

/// The control socket in `home`. A path that is too long leads through the open directory instead, which only Linux offers.
pub(super) fn reach(home: &Path) -> io::Result<Reach> {
    let path = home.join(NAME);
    if path.as_os_str().len() <= PATH_MOST {
        return Ok(Reach { path, _home: None });
    }
    let home = File::open(home)?;
    let path = Path::new("/proc/self/fd").join(home.as_raw_fd().to_string()).join(NAME);
    Ok(Reach { path, _home: Some(home) })
}
