"""Sound in: files to samples, recordings and clips, their outline and spectrum, and the plan of sliding windows."""
