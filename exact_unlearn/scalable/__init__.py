"""The same problems at the size of real networks, with torch."""
from exact_unlearn.scalable.project import project
