#pragma once

// Compares every available ISA's kernels for vectors with the plain ones; returns how many differ.
int vector_failures();
