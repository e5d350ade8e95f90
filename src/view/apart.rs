//! Elements that lie apart in memory, or whose bytes are in the other order, and elements side by side: loops of which the
//! compiler knows all that it needs to make them short.

/// Runs a function for the unsigned integer of so many bytes, and whether these are to be swapped: of 1, 2, 4 or 8, or if they are
/// not `wide` of 2 or 4.
macro_rules! each_size {
    ($wide:ident, $item:expr, $swapped:expr, $function:ident($($argument:expr),*)) => {
        match ($item, $swapped) {
            (1, _) if $wide => $function::<u8, false>($($argument),*),
            (2, false) => $function::<u16, false>($($argument),*),
            (2, true) => $function::<u16, true>($($argument),*),
            (8, false) if $wide => $function::<u64, false>($($argument),*),
            (8, true) if $wide => $function::<u64, true>($($argument),*),
            (_, false) => $function::<u32, false>($($argument),*),
            (_, true) => $function::<u32, true>($($argument),*),
        }
    };
}

/// An element as it lies in memory.
trait Bits: Copy {
    fn swap(self) -> Self;
}

macro_rules! bits {
    ($($t:ty),*) => {$(
        impl Bits for $t {
            #[inline(always)]
            fn swap(self) -> Self { self.swap_bytes() }
        }
    )*};
}
bits!(u8, u16, u32, u64);

/// The element `at` bytes after `from`.
///
/// # Safety
/// It is readable.
#[inline(always)]
unsafe fn get<T: Bits, const SWAP: bool>(from: *const u8, at: isize) -> T {
    // SAFETY: promised by the caller.
    let x = unsafe { from.wrapping_offset(at).cast::<T>().read_unaligned() };
    if SWAP { x.swap() } else { x }
}

/// Writes the element `at` bytes after `to`.
///
/// # Safety
/// Its place is writable.
#[inline(always)]
unsafe fn put<T: Bits, const SWAP: bool>(to: *mut u8, at: isize, x: T) {
    let x = if SWAP { x.swap() } else { x };
    // SAFETY: promised by the caller.
    unsafe { to.wrapping_offset(at).cast::<T>().write_unaligned(x) };
}

/// How elements lie in memory.
#[derive(Clone, Copy)]
pub(super) struct Apart {
    /// The bytes of one: 2 or 4, or others if it is [collected](Self::collect) as `WIDE`.
    pub(super) item: isize,
    /// The bytes from one to the next.
    pub(super) stride: isize,
    /// Whether those of one are in the other order.
    pub(super) swapped: bool,
    /// Whether every second of them is brought by whole vectors: of a loop LLVM makes gathers where there are such, as with AVX-512,
    /// which take three times as long.
    pub(super) by_loads: bool,
}

impl Apart {
    /// Brings elements side by side from `to` on, which is aligned for them.
    ///
    /// # Safety
    /// `count` elements from `from` on are readable, and what lies between them, and so many places from `to` on writable.
    #[inline(always)]
    pub(super) unsafe fn collect<const WIDE: bool>(self, from: *const u8, to: *mut u8, count: usize) {
        let Self { item, stride, swapped, by_loads } = self;
        // SAFETY: promised by the caller.
        unsafe { each_size!(WIDE, item, swapped, collect_bits(from, (stride, by_loads), to.cast(), count)) }
    }

    /// The inverse.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn spread<const WIDE: bool>(self, from: *const u8, to: *mut u8, count: usize) {
        let Self { item, stride, swapped, .. } = self;
        // SAFETY: promised by the caller.
        unsafe { each_size!(WIDE, item, swapped, spread_bits(from.cast(), to, stride, count)) }
    }
}

/// [`Apart::collect`] of one size: in vectors at strides that are known, else four at a time.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn collect_bits<T: Bits, const SWAP: bool>(
    from: *const u8,
    (stride, by_loads): (isize, bool),
    to: *mut T,
    count: usize,
) {
    let item = size_of::<T>() as isize;
    // SAFETY: promised by the caller.
    unsafe {
        match stride {
            _ if item < 4 => {}
            _ if SWAP && stride == item => return collect_every::<T, SWAP, 1>(from, to, count),
            _ if !SWAP && stride == 2 * item && !by_loads => {
                return collect_every::<T, SWAP, 2>(from, to, count);
            }
            _ if !SWAP && stride == -item => return collect_every::<T, SWAP, -1>(from, to, count),
            _ => {}
        }
        let mut j = 0;
        if by_loads && !SWAP && item == 4 && stride == 2 * item {
            // The lower half of each eight bytes. What lies after the last is not there.
            let (from, to) = (from.cast::<u64>(), to.cast::<u32>());
            while j + 1 < count {
                to.add(j).write(from.add(j).read_unaligned() as u32);
                j += 1;
            }
        }
        if by_loads && !SWAP && item == 8 && stride == 2 * item {
            // What lies after the last of them is read for the next.
            while j + 16 < count {
                let pairs = from.wrapping_offset(j as isize * stride).cast::<[[T; 2]; 16]>().read_unaligned();
                let mut first = [pairs[0][0]; 16];
                for k in 0..16 {
                    first[k] = pairs[k][0];
                }
                to.add(j).cast::<[T; 16]>().write(first);
                j += 16;
            }
        }
        while j + 4 <= count {
            let at = j as isize * stride;
            let four = [
                get::<T, SWAP>(from, at),
                get::<T, SWAP>(from, at + stride),
                get::<T, SWAP>(from, at + 2 * stride),
                get::<T, SWAP>(from, at + 3 * stride),
            ];
            to.add(j).cast::<[T; 4]>().write(four);
            j += 4;
        }
        while j < count {
            *to.add(j) = get::<T, SWAP>(from, j as isize * stride);
            j += 1;
        }
    }
}

/// The same at a stride of so many elements.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn collect_every<T: Bits, const SWAP: bool, const STEP: isize>(
    from: *const u8,
    to: *mut T,
    count: usize,
) {
    let stride = STEP * size_of::<T>() as isize;
    for j in 0..count {
        // SAFETY: promised by the caller.
        unsafe { *to.add(j) = get::<T, SWAP>(from, j as isize * stride) };
    }
}

/// [`Apart::spread`] of one size.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn spread_bits<T: Bits, const SWAP: bool>(from: *const T, to: *mut u8, stride: isize, count: usize) {
    let item = size_of::<T>() as isize;
    // SAFETY: promised by the caller.
    unsafe {
        match stride {
            _ if item < 4 => {}
            _ if SWAP && stride == item => return spread_every::<T, SWAP, 1>(from, to, count),
            _ if !SWAP && stride == -item => return spread_every::<T, SWAP, -1>(from, to, count),
            _ => {}
        }
        let mut j = 0;
        while j + 4 <= count {
            let at = j as isize * stride;
            let four = from.add(j).cast::<[T; 4]>().read();
            put::<T, SWAP>(to, at, four[0]);
            put::<T, SWAP>(to, at + stride, four[1]);
            put::<T, SWAP>(to, at + 2 * stride, four[2]);
            put::<T, SWAP>(to, at + 3 * stride, four[3]);
            j += 4;
        }
        while j < count {
            put::<T, SWAP>(to, j as isize * stride, *from.add(j));
            j += 1;
        }
    }
}

/// The same at a stride of so many elements.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn spread_every<T: Bits, const SWAP: bool, const STEP: isize>(
    from: *const T,
    to: *mut u8,
    count: usize,
) {
    let stride = STEP * size_of::<T>() as isize;
    for j in 0..count {
        // SAFETY: promised by the caller.
        unsafe { put::<T, SWAP>(to, j as isize * stride, *from.add(j)) };
    }
}
