//! What a broker's clients saw, written down, and the judgement whether it can be true of a log that loses nothing.
//!
//! It starts no broker and injects no fault: the simulation (`../sim`) and the torture of the real binary (`../torture`) do, and bring
//! their histories here.
