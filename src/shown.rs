//! `Debug` of what stands behind a trait: everywhere but in the module, where nobody looks at it and it would make 4 KB, since every one
//! of them would carry it.

/// What can be looked at, where anybody does.
#[cfg(not(target_family = "wasm"))]
pub trait Shown: std::fmt::Debug {}

#[cfg(not(target_family = "wasm"))]
impl<T: std::fmt::Debug> Shown for T {}

/// What can be looked at elsewhere.
#[cfg(target_family = "wasm")]
pub trait Shown {}

#[cfg(target_family = "wasm")]
impl<T> Shown for T {}

/// In the module: no more than the name of the trait.
macro_rules! shown_by_name {
    ($name:ident) => {
        #[cfg(target_family = "wasm")]
        impl std::fmt::Debug for dyn $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(stringify!($name))
            }
        }
    };
}

pub(crate) use shown_by_name;
