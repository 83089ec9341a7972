//! Makes one connection and copies what goes through it.

use tool_support::{
    linux::{Call, EINVAL, Errno, STDERR, STDIN, STDOUT, call, read, say, write},
    start::Arguments,
};

/// Where connections are waited for.
const PORT: u32 = 1234;
/// The most that is copied at a time.
const PIECE: usize = 64 << 10;

// include/linux/socket.h, include/linux/net.h, include/uapi/linux/vm_sockets.h.
const AF_VSOCK: u16 = 40;
const SOCK_STREAM: usize = 1;
const SOCK_SEQPACKET: usize = 5;
const VMADDR_CID_ANY: u32 = u32::MAX;

/// `struct sockaddr_vm` of vm_sockets.h.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u32,
}

/// A connection of the kind that comes first, to the VM that comes second or else from any.
pub fn run(mut arguments: Arguments) -> Result<(), Errno> {
    let kind = match arguments.next() {
        Some("stream") => SOCK_STREAM,
        Some("seqpacket") => SOCK_SEQPACKET,
        _ => return Err(EINVAL),
    };
    let peer = arguments.next().map(|cid| cid.parse().map_err(|_| EINVAL)).transpose()?;
    let cid = peer.unwrap_or(VMADDR_CID_ANY);
    let address = Address { family: AF_VSOCK, reserved: 0, port: PORT, cid, flags: 0 };
    let address = [(&raw const address).addr(), size_of::<Address>()];
    // SAFETY: the kernel reads the address, and writes nothing.
    let (from, to) = unsafe {
        let socket = call(Call::Socket, [AF_VSOCK.into(), kind, 0])?;
        let with_address = |number| call(number, [socket, address[0], address[1]]);
        if peer.is_some() {
            with_address(Call::Connect)?;
            (STDIN, socket)
        } else {
            with_address(Call::Bind)?;
            call(Call::Listen, [socket, 1, 0])?;
            say(STDERR, format_args!("waiting"));
            (call(Call::Accept, [socket, 0, 0])?, STDOUT)
        }
    };
    let pieces = copy(from, to)?;
    say(STDERR, format_args!("{pieces} pieces"));
    Ok(())
}

/// Copies until the end, and returns in how many pieces.
fn copy(from: usize, to: usize) -> Result<u64, Errno> {
    let mut buffer = [0; PIECE];
    let mut pieces = 0;
    loop {
        let len = read(from, &mut buffer)?;
        if len == 0 {
            return Ok(pieces);
        }
        write(to, buffer.get(..len).unwrap_or_default())?;
        pieces += 1;
    }
}
