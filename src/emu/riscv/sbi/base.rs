//! BASE: which SBI this is (SBI, chapter 4).

use super::{Answer, Error, Request, extension};

/// Version 2.0.
const SPECIFICATION: u64 = 2 << 24;
/// No number is registered for this implementation. This one says "Poly".
const IMPLEMENTATION: u64 = 0x506f_6c79;
/// The implementation's own version.
const VERSION: u64 = 1;

pub fn call(request: Request) -> Answer {
    Ok(match request.function {
        0 => SPECIFICATION,
        1 => IMPLEMENTATION,
        2 => VERSION,
        3 => extension::ALL.contains(&request.arguments[0]).into(),
        // mvendorid, marchid, mimpid: as the registers say.
        4..=6 => 0,
        _ => return Err(Error::NotSupported),
    })
}
