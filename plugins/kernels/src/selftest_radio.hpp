#pragma once

// Decides random slots of a radio on every available ISA; returns how many decisions break what they promise.
int radio_failures();
