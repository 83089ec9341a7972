//! The ARM PrimeCell real-time clock (PL031), DDI 0224.
