"""Reports as a site of static pages: what was found, and a page for each flagged object."""
