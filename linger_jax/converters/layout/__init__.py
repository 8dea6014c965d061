"""In which order the elements of a tensor stand on either side."""
